/* SPDX-License-Identifier: BSD-3-Clause */
/* main: the options of strata-guards and its output. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/guards/guards.h"
#include "src/base/mem.h"

static const char usage[] =
    "usage: strata-guards origin  --origin ADDRESS [--delay-ms N] [--slots N]\n"
    "       strata-guards fill    --cache ADDRESS --keys N --end-ms T\n"
    "       strata-guards readers --cache ADDRESS [--origin ADDRESS] [options]\n"
    "ADDRESS is a port, 127.0.0.1:port, [::1]:port or the path of a unix socket; T is a wall-clock time in milliseconds.\n"
    "\n"
    "origin:  --delay-ms N        what a load takes (50)      --slots N        loads at once (200)\n"
    "readers: --origin ADDRESS    look-aside: GET, miss, load, SET; without it the cache loads\n"
    "         --connections N     (2000)                      --keys N         (1)\n"
    "         --hot N             the first so many keys ...  --hot-percent P  get so much of the reads\n"
    "         --rate N            reads per second; without it each connection reads once, all at the same moment\n"
    "         --seconds S         how long, with a rate (1)   --begin-ms T     not before\n"
    "         --ttl-ms N          of a SET (60000)            --before del|expire  what key 0 is before the first read\n"
    "output of readers: one JSON object\n";

struct arguments {
    struct origin_options origin;
    struct readers_options readers;
    int64_t end_ms;
};

enum word { O_CACHE = 256, O_ORIGIN, O_DELAY, O_SLOTS, O_CONNECTIONS, O_KEYS, O_HOT, O_HOT_PERCENT, O_RATE, O_SECONDS, O_BEGIN,
            O_END, O_TTL, O_BEFORE };

static const struct option options[] = {
    {"cache", required_argument, NULL, O_CACHE},     {"origin", required_argument, NULL, O_ORIGIN},
    {"delay-ms", required_argument, NULL, O_DELAY},  {"slots", required_argument, NULL, O_SLOTS},
    {"keys", required_argument, NULL, O_KEYS},       {"connections", required_argument, NULL, O_CONNECTIONS},
    {"hot", required_argument, NULL, O_HOT},         {"hot-percent", required_argument, NULL, O_HOT_PERCENT},
    {"rate", required_argument, NULL, O_RATE},       {"seconds", required_argument, NULL, O_SECONDS},
    {"begin-ms", required_argument, NULL, O_BEGIN},  {"end-ms", required_argument, NULL, O_END},
    {"ttl-ms", required_argument, NULL, O_TTL},      {"before", required_argument, NULL, O_BEFORE},
    {NULL, 0, NULL, 0}};

static double number(const char *text, double min, double max) {
    char *end;
    double v = strtod(text, &end);
    if (end == text || *end != '\0' || !(v >= min && v <= max)) {
        die("%s: want a number from %g to %g", text, min, max);
    }
    return v;
}

static void address(struct address *a, const char *text) {
    if (!address_parse(a, text)) {
        die("%s: want a port, a loopback address with a port, or a path", text);
    }
}

static bool reader_option(struct readers_options *r, int option, const char *text) {
    switch (option) {
    case O_CONNECTIONS:
        r->connections = (unsigned)number(text, 1, 100000);
        return true;
    case O_KEYS:
        r->keys = (uint64_t)number(text, 1, 1e9);
        return true;
    case O_HOT:
        r->hot = (uint64_t)number(text, 1, 1e9);
        return true;
    case O_HOT_PERCENT:
        r->hot_percent = number(text, 0, 100);
        return true;
    case O_RATE:
        r->rate = number(text, 1, 1e9);
        return true;
    case O_SECONDS:
        r->seconds = number(text, 0.001, 3600);
        return true;
    case O_BEGIN:
        r->begin_ms = (int64_t)number(text, 0, 1e14);
        return true;
    case O_TTL:
        r->ttl_ms = (int64_t)number(text, 1, 1e12);
        return true;
    case O_BEFORE:
        r->before = strcmp(text, "del") == 0 ? BEFORE_DEL : BEFORE_EXPIRE;
        return true;
    default:
        return false;
    }
}

static void other_option(struct arguments *a, int option, const char *text) {
    switch (option) {
    case O_CACHE:
        address(&a->readers.cache, text);
        break;
    case O_ORIGIN:
        address(&a->readers.origin, text);
        a->origin.address = a->readers.origin;
        a->readers.look_aside = true;
        break;
    case O_DELAY:
        a->origin.delay_ms = (uint64_t)number(text, 0, 60000);
        break;
    case O_SLOTS:
        a->origin.slots = (unsigned)number(text, 1, 1e6);
        break;
    case O_END:
        a->end_ms = (int64_t)number(text, 1e12, 1e13 - 1);
        break;
    default:
        die("%s", usage);
    }
}

static void result_print(const struct readers_result *r) {
    printf("{\"reads\": %llu, \"loads\": %llu, \"errors\": %llu, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f, \"error\": \"",
           (unsigned long long)r->reads, (unsigned long long)r->loads, (unsigned long long)r->errors,
           (double)hist_percentile(&r->latency, 50) / 1e6, (double)hist_percentile(&r->latency, 99) / 1e6,
           (double)r->latency.max / 1e6);
    for (const char *p = r->first_error; *p != '\0'; p++) {
        putchar(*p == '"' || *p == '\\' || *p < ' ' || *p > '~' ? '?' : *p);
    }
    printf("\"}\n");
}

int main(int argc, char **argv) {
    static struct arguments a = {.origin = {.delay_ms = 50, .slots = 200},
                                 .readers = {.connections = 2000, .keys = 1, .hot = 1, .seconds = 1, .ttl_ms = 60000}};
    static struct readers_result result;
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (!reader_option(&a.readers, option, optarg)) {
            other_option(&a, option, optarg);
        }
    }
    const char *what = optind == argc - 1 ? argv[optind] : "";
    if (strcmp(what, "origin") == 0 && a.origin.address.len > 0) {
        origin_serve(&a.origin);
    } else if (strcmp(what, "fill") == 0 && a.readers.cache.len > 0 && a.end_ms > 0) {
        fill_run(&a.readers.cache, a.readers.keys, a.end_ms);
    } else if (strcmp(what, "readers") == 0 && a.readers.cache.len > 0) {
        readers_run(&a.readers, &result);
        result_print(&result);
    } else {
        fputs(usage, stderr);
        return 1;
    }
    return 0;
}
