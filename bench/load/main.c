/* SPDX-License-Identifier: BSD-3-Clause */
/* main: the options of strata-load and its output. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/load/load.h"
#include "bench/load/replay.h"
#include "src/base/mem.h"

static const char usage[] =
    "usage: strata-load --target ADDRESS [options]\n"
    "       strata-load --replay TRACE --target ADDRESS [--target ADDRESS ...] [options]\n"
    "       strata-load --replay TRACE --info\n"
    "ADDRESS is a port, 127.0.0.1:port, [::1]:port or the path of a unix socket.\n"
    "\n"
    "load:   --reads PERCENT      GETs among GETs and SETs (100)\n"
    "        --keys N             key range (10000)     --key-size N     bytes of a key (16)\n"
    "        --value-size N       bytes (100)           --ttl-ms MIN[:MAX]  SETs carry PX\n"
    "        --pattern uniform|zipf|gaussian|sequence   --zipf-exponent S  (0.99)\n"
    "        --connections N      (10)                  --pipeline N     (1)\n"
    "        --threads N          (1)                   --seed N         (1)\n"
    "        --seconds S | --requests N                 --warmup S       not measured (0)\n"
    "        --rate N             requests per second, latency counted from when each was due\n"
    "        --watch CORES        as in 0,1: no latency of a moment in which a thread that runs there before\n"
    "                             all others woke late: the hypervisor took the core\n"
    "replay: --requests N         only the first N      --value-size N   where the trace has none\n"
    "        --connections N      (4)                   --pipeline N     (16)\n"
    "        --rate N             records per second at most: servers whose clock of last use is coarse\n"
    "                             forget what is recent when a trace of hours passes in seconds\n"
    "        --slice N            records per turn of a target (a twentieth)\n"
    "        --skip N             not the first N\n"
    "        --info               describe the trace and end\n"
    "output: --json               one JSON object on standard output\n";

struct arguments {
    struct load_options load;
    struct address targets[REPLAY_TARGETS_MAX];
    unsigned n_targets;
    const char *replay;
    uint64_t slice, skip;
    bool info;
    bool json;
};

enum word { O_TARGET = 256, O_REPLAY, O_READS, O_KEYS, O_KEY_SIZE, O_VALUE_SIZE, O_TTL, O_PATTERN, O_ZIPF, O_CONNECTIONS,
            O_PIPELINE, O_THREADS, O_SEED, O_SECONDS, O_REQUESTS, O_WARMUP, O_RATE, O_WATCH, O_SLICE, O_SKIP, O_INFO, O_JSON, O_HELP };

static const struct option options[] = {
    {"target", required_argument, NULL, O_TARGET},       {"replay", required_argument, NULL, O_REPLAY},
    {"reads", required_argument, NULL, O_READS},         {"keys", required_argument, NULL, O_KEYS},
    {"key-size", required_argument, NULL, O_KEY_SIZE},   {"value-size", required_argument, NULL, O_VALUE_SIZE},
    {"ttl-ms", required_argument, NULL, O_TTL},          {"pattern", required_argument, NULL, O_PATTERN},
    {"zipf-exponent", required_argument, NULL, O_ZIPF},  {"connections", required_argument, NULL, O_CONNECTIONS},
    {"pipeline", required_argument, NULL, O_PIPELINE},   {"threads", required_argument, NULL, O_THREADS},
    {"seed", required_argument, NULL, O_SEED},           {"seconds", required_argument, NULL, O_SECONDS},
    {"requests", required_argument, NULL, O_REQUESTS},   {"warmup", required_argument, NULL, O_WARMUP},
    {"rate", required_argument, NULL, O_RATE},           {"watch", required_argument, NULL, O_WATCH},
    {"slice", required_argument, NULL, O_SLICE},         {"skip", required_argument, NULL, O_SKIP},
    {"info", no_argument, NULL, O_INFO},                 {"json", no_argument, NULL, O_JSON},
    {"help", no_argument, NULL, O_HELP},                 {NULL, 0, NULL, 0}};

static uint64_t number(const char *text, uint64_t min, uint64_t max) {
    char *end;
    unsigned long long v = strtoull(text, &end, 10);
    if (end == text || *end != '\0' || text[0] == '-' || v < min || v > max) {
        die("%s: want a number from %llu to %llu", text, (unsigned long long)min, (unsigned long long)max);
    }
    return v;
}

static double fraction(const char *text, double min, double max) {
    char *end;
    double v = strtod(text, &end);
    if (end == text || *end != '\0' || !(v >= min && v <= max)) {
        die("%s: want a number from %g to %g", text, min, max);
    }
    return v;
}

static void ttl_parse(struct request_shape *shape, const char *text) {
    char first[24];
    const char *colon = strchr(text, ':');
    size_t n = colon == NULL ? strlen(text) : (size_t)(colon - text);
    snprintf(first, sizeof(first), "%.*s", (int)n, text);
    shape->ttl_min_ms = number(first, 1, UINT32_MAX);
    shape->ttl_max_ms = colon == NULL ? shape->ttl_min_ms : number(colon + 1, shape->ttl_min_ms, UINT32_MAX);
}

static enum key_pattern pattern_parse(const char *text) {
    static const char *const names[] = {"uniform", "zipf", "gaussian", "sequence"};
    for (unsigned i = 0; i < 4; i++) {
        if (strcmp(text, names[i]) == 0) {
            return (enum key_pattern)i;
        }
    }
    die("%s: want uniform, zipf, gaussian or sequence", text);
}

static void target_add(struct arguments *a, const char *text) {
    if (a->n_targets == REPLAY_TARGETS_MAX) {
        die("at most %d targets", REPLAY_TARGETS_MAX);
    }
    if (!address_parse(&a->targets[a->n_targets++], text)) {
        die("%s: want a port, a loopback address with a port, or a path", text);
    }
}

/* Options about what is sent; false when option is none of them. */
static bool shape_option(struct request_shape *shape, int option, const char *text) {
    switch (option) {
    case O_READS:
        shape->read_percent = fraction(text, 0, 100);
        return true;
    case O_KEYS:
        shape->keys = number(text, 1, 10000000000);
        return true;
    case O_KEY_SIZE:
        shape->key_size = (unsigned)number(text, 14, 1000);
        return true;
    case O_VALUE_SIZE:
        shape->value_size = number(text, 1, 512 << 20);
        return true;
    case O_TTL:
        ttl_parse(shape, text);
        return true;
    case O_PATTERN:
        shape->pattern = pattern_parse(text);
        return true;
    case O_ZIPF:
        shape->zipf_exponent = fraction(text, 0.01, 0.999);
        return true;
    default:
        return false;
    }
}

/* Options about how it is sent; false when option is none of them. */
static bool load_option(struct load_options *load, int option, const char *text) {
    switch (option) {
    case O_CONNECTIONS:
        load->connections = (unsigned)number(text, 1, 100000);
        return true;
    case O_PIPELINE:
        load->pipeline = (unsigned)number(text, 1, 1000000);
        return true;
    case O_THREADS:
        load->threads = (unsigned)number(text, 1, 256);
        return true;
    case O_SEED:
        load->seed = number(text, 0, UINT64_MAX);
        return true;
    case O_SECONDS:
        load->seconds = fraction(text, 0.001, 1e6);
        return true;
    case O_REQUESTS:
        load->requests = number(text, 1, UINT64_MAX);
        return true;
    case O_WARMUP:
        load->warmup = fraction(text, 0, 1e6);
        return true;
    case O_RATE:
        load->rate = fraction(text, 0.001, 1e9);
        return true;
    case O_WATCH:
        load->watch = text;
        return true;
    default:
        return false;
    }
}

static void other_option(struct arguments *a, int option, const char *text) {
    switch (option) {
    case O_TARGET:
        target_add(a, text);
        break;
    case O_REPLAY:
        a->replay = text;
        break;
    case O_SLICE:
        a->slice = number(text, 1, UINT64_MAX);
        break;
    case O_SKIP:
        a->skip = number(text, 0, UINT64_MAX);
        break;
    case O_INFO:
        a->info = true;
        break;
    case O_JSON:
        a->json = true;
        break;
    case O_HELP:
        fputs(usage, stdout);
        exit(0);
    default:
        fputs(usage, stderr);
        exit(1);
    }
}

static void latency_print(const struct hist *h, bool json) {
    static const double percents[] = {50, 90, 99, 99.9, 99.99};
    static const char *const names[] = {"p50", "p90", "p99", "p99.9", "p99.99"};
    printf(json ? "\"latency_us\": {" : "latency us ");
    for (unsigned i = 0; i < 5; i++) {
        printf(json ? "\"%s\": %.1f, " : " %s %.1f", names[i], (double)hist_percentile(h, percents[i]) / 1e3);
    }
    printf(json ? "\"max\": %.1f}" : " max %.1f\n", (double)h->max / 1e3);
}

/* The first line of an error reply, fit for a JSON string. */
static void error_print(const char *text) {
    for (; *text != '\0'; text++) {
        putchar(*text == '"' || *text == '\\' || (unsigned char)*text < ' ' || (unsigned char)*text > '~' ? '?' : *text);
    }
}

static void load_print(const struct load_result *r, bool json) {
    double rate = r->seconds > 0 ? (double)r->replies / r->seconds : 0;
    printf(json ? "{\"requests\": %llu, \"nulls\": %llu, \"errors\": %llu, \"seconds\": %.6f, \"ops\": %.1f, "
                : "requests %llu  nulls %llu  errors %llu  seconds %.3f  ops/s %.0f\n",
           (unsigned long long)r->replies, (unsigned long long)r->nulls, (unsigned long long)r->errors, r->seconds, rate);
    latency_print(&r->latency, json);
    if (r->windows > 0) {
        printf(json ? ", \"windows\": %llu, \"windows_late\": %llu" : "windows of 10 ms %llu  not counted %llu\n",
               (unsigned long long)r->windows, (unsigned long long)r->late);
    }
    if (json) {
        printf(", \"first_error\": \"");
        error_print(r->first_error);
        printf("\"}\n");
    }
}

static void replay_print(const struct replay_result *results, unsigned n, const struct trace *t, bool json) {
    printf(json ? "{\"requests\": %llu, \"keys\": %u, \"value_bytes\": %llu, \"targets\": ["
                : "requests %llu  keys %u  value bytes %llu\n",
           (unsigned long long)t->n, t->keys, (unsigned long long)t->value_bytes);
    for (unsigned i = 0; i < n; i++) {
        const struct replay_result *r = &results[i];
        printf(json ? "%s{\"hits\": %llu, \"misses\": %llu, \"errors\": %llu, \"commands\": %llu, \"seconds\": %.6f, \"ops\": %.1f, "
                    : "%starget: hits %llu  misses %llu  errors %llu  commands %llu  seconds %.3f  records/s %.0f\n",
               json && i > 0 ? ", " : "", (unsigned long long)r->hits, (unsigned long long)r->misses,
               (unsigned long long)r->errors, (unsigned long long)r->commands, r->seconds, (double)t->n / r->seconds);
        latency_print(&r->latency, json);
        if (json) {
            printf(", \"first_error\": \"");
            error_print(r->first_error);
            printf("\"}");
        }
    }
    printf(json ? "]}\n" : "");
}

static int replay_main(const struct arguments *a) {
    struct trace trace;
    trace_read(&trace, a->replay, a->load.requests, a->load.shape.value_size > 0 ? (uint32_t)a->load.shape.value_size : 0);
    struct replay_result *results = mem_zalloc(REPLAY_TARGETS_MAX * sizeof(*results));
    struct trace_record *first = trace.records;
    uint64_t skip = a->skip < trace.n ? a->skip : trace.n;
    trace.records += skip;
    trace.n -= skip;
    if (!a->info) {
        struct replay_options o = {
            .targets = a->targets,
            .n_targets = a->n_targets,
            .connections = a->load.connections > 0 ? a->load.connections : 4,
            .window = a->load.pipeline > 0 ? a->load.pipeline : 16,
            .slice = a->slice > 0 ? a->slice : (trace.n + 19) / 20,
            .rate = a->load.rate,
            .progress = isatty(2),
        };
        replay_run(&o, &trace, results);
    }
    replay_print(results, a->info ? 0 : a->n_targets, &trace, a->json);
    mem_free(results);
    trace.records = first;
    trace_free(&trace);
    return 0;
}

static int load_main(struct arguments *a) {
    struct load_options *o = &a->load;
    o->address = a->targets[0];
    o->connections = o->connections > 0 ? o->connections : 10;
    o->pipeline = o->pipeline > 0 ? o->pipeline : 1;
    o->shape.value_size = o->shape.value_size > 0 ? o->shape.value_size : 100;
    if (a->n_targets != 1 || (o->seconds > 0) == (o->requests > 0)) {
        die("want one --target and one of --seconds and --requests (see --help)");
    }
    if (o->threads > o->connections || o->threads > o->shape.keys) {
        die("want at least one connection and one key for each thread");
    }
    if (o->requests > 0 && o->warmup > 0) {
        die("--warmup goes with --seconds");
    }
    struct load_result *result = load_run(o);
    load_print(result, a->json);
    if (result->errors > 0) {
        fprintf(stderr, "strata-load: first error: %s\n", result->first_error);
    }
    mem_free(result);
    return 0;
}

int main(int argc, char **argv) {
    static struct arguments a = {.load = {.threads = 1,
                                          .seed = 1,
                                          .shape = {.keys = 10000, .key_size = 16, .read_percent = 100, .zipf_exponent = 0.99}}};
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (!shape_option(&a.load.shape, option, optarg) && !load_option(&a.load, option, optarg)) {
            other_option(&a, option, optarg);
        }
    }
    if (optind != argc || (a.n_targets == 0 && !a.info)) {
        fputs(usage, stderr);
        return 1;
    }
    return a.replay != NULL ? replay_main(&a) : load_main(&a);
}
