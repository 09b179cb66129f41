/* SPDX-License-Identifier: BSD-3-Clause */
/* main: the options of strata-sim and its table. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/load/sock.h"
#include "bench/load/trace.h"
#include "bench/sim/curve.h"
#include "bench/sim/ring_sim.h"
#include "bench/sim/sim.h"
#include "src/base/hash.h"
#include "src/base/mem.h"

static const char usage[] =
    "usage: strata-sim TRACE [--policy NAME,...|all] [--size SIZE,...] [options]\n"
    "       strata-sim --ring [NODES,...] [--runs N]\n"
    "Miss ratios of the memory tier's policies, and of reference implementations, over a recorded trace.\n"
    "\n"
    "--policy NAME,...   policies of maxmemory-policy, and ref-lru, ref-s3fifo, ref-s3fifo-1 (promotes\n"
    "                    at the first read), ref-belady; all for every one (allkeys-s3fifo,ref-lru,ref-s3fifo)\n"
    "--size SIZE,...     64mb: bytes as maxmemory counts them; 5000items: items, all alike; 10%: of the working\n"
    "                    set, in bytes of values, or in items where the trace has no sizes (1%,10%)\n"
    "--value-size N      length of values where the trace has none (32 << xxh64(key) % 6)\n"
    "--requests N        only the first N records\n"
    "--shards N          shards of the tier, a power of two (1)\n"
    "--seed N            another placement of keys in the tier (1)\n"
    "--mrc               instead, for each policy and size (bytes, or shares of the working set): the miss-ratio\n"
    "                    curve as the server estimates it while it runs, beside full simulations\n"
    "--shadow NAME       with --mrc: also what it says of that policy\n"
    "--l2 TIMES          with --mrc: and of a disk tier so many times as large as memory\n"
    "--items N           with --mrc: bound of the miniatures of memory together (as a server has it)\n"
    "\n"
    "--ring NODES,...    instead: slots given to so many nodes, by several methods, when one joins, and how long a cluster\n"
    "                    takes to agree (3,5,10,20,50,100,300,1000)\n"
    "--runs N            sets of nodes (40)\n";

enum { MAX_SIZES = 16, MAX_POLICIES = 32, NAME_BYTES = 32 };

struct size {
    enum sim_unit unit;
    uint64_t n;
    char text[NAME_BYTES];
};

struct arguments {
    const char *trace, *policies, *sizes, *ring;
    unsigned runs;
    uint64_t requests;
    uint32_t value_size;
    unsigned shards;
    bool mrc;
    const char *shadow;
    unsigned items, l2;
};

static uint64_t number(const char *text, uint64_t max) {
    char *end;
    unsigned long long v = strtoull(text, &end, 10);
    if (end == text || *end != '\0' || text[0] == '-' || v < 1 || v > max) {
        die("%s: want a number from 1 to %llu", text, (unsigned long long)max);
    }
    return v;
}

static void size_parse(struct size *out, const char *text, const struct trace *t) {
    static const struct {
        const char *name;
        double factor;
    } units[] = {{"", 1}, {"b", 1}, {"k", 1000}, {"kb", 1 << 10}, {"m", 1e6}, {"mb", 1 << 20}, {"g", 1e9}, {"gb", 1 << 30}};
    char *end;
    double v = strtod(text, &end), n = 0;
    if (end != text && strcmp(end, "%") == 0) {
        out->unit = t->sized ? SIM_VALUES : SIM_ITEMS;
        n = v / 100 * (t->sized ? (double)t->value_bytes : (double)t->keys);
    } else if (end != text && strcmp(end, "items") == 0) {
        out->unit = SIM_ITEMS;
        n = v;
    }
    for (unsigned i = 0; i < sizeof(units) / sizeof(units[0]) && end != text; i++) {
        if (strcmp(end, units[i].name) == 0) {
            out->unit = SIM_MEMORY;
            n = v * units[i].factor;
        }
    }
    if (!(n >= 1 && n < 1e15)) {
        die("%s: want a size, as 64mb, 10%% or 5000items", text);
    }
    out->n = (uint64_t)n;
    snprintf(out->text, sizeof(out->text), "%s", text);
}

static void row_print(const struct sim_setup *setup, const char *size) {
    static const char *const units[] = {"bytes", "value bytes", "items"};
    struct sim_result r;
    sim_run(setup, &r);
    char capacity[64];
    snprintf(capacity, sizeof(capacity), "%s = %llu %s", size, (unsigned long long)setup->capacity, units[setup->unit]);
    printf("%-34s %-16s %8.4f ", capacity, setup->policy, (double)r.misses / (double)r.requests);
    if (setup->unit == SIM_ITEMS) {
        printf("%10s ", "-");
    } else {
        printf("%10.4f ", (double)r.missed_bytes / (double)r.bytes);
    }
    printf("%9llu %7.0f\n", (unsigned long long)r.items, r.seconds * 1e9 / (double)r.requests);
    fflush(stdout);
}

/* Bytes of the tier that hold so much. */
static uint64_t memory_of(const struct size *s, const struct trace *t) {
    double items = s->unit == SIM_ITEMS ? (double)s->n : (double)s->n / (double)t->value_bytes * t->keys;
    return s->unit == SIM_MEMORY ? s->n : (uint64_t)(items * ((double)t->value_bytes / t->keys + SIM_OVERHEAD));
}

static void table_print(const struct arguments *a, const struct trace *t) {
    static struct size sizes[MAX_SIZES];
    const char *policies[MAX_POLICIES];
    unsigned n_sizes = 0, n_policies = 0;
    char *text = mem_strdup(a->sizes), *names = mem_strdup(a->policies), *save = NULL;
    for (char *p = strtok_r(text, ",", &save); p != NULL && n_sizes < MAX_SIZES; p = strtok_r(NULL, ",", &save)) {
        size_parse(&sizes[n_sizes++], p, t);
    }
    for (char *p = strtok_r(names, ",", &save); p != NULL && n_policies < MAX_POLICIES; p = strtok_r(NULL, ",", &save)) {
        for (unsigned i = 0; strcmp(p, "all") == 0 && n_policies < MAX_POLICIES && sim_policy(i) != NULL; i++) {
            policies[n_policies++] = sim_policy(i);
        }
        if (strcmp(p, "all") != 0 && !sim_is_policy(p)) {
            die("%s: no such policy (see --help)", p);
        } else if (strcmp(p, "all") != 0) {
            policies[n_policies++] = p;
        }
    }
    if (!a->mrc) {
        printf("%-34s %-16s %8s %10s %9s %7s\n", "size", "policy", "miss", "byte miss", "items", "ns/req");
    }
    for (unsigned s = 0; s < n_sizes; s++) {
        for (unsigned p = 0; p < n_policies; p++) {
            if (a->mrc) {
                if (strncmp(policies[p], "ref-", 4) != 0) {
                    curve_compare(&(struct curve_setup){.policy = policies[p], .shadow = a->shadow, .items = a->items, .l1_bytes = memory_of(&sizes[s], t),
                                                            .l2_bytes = a->l2 * memory_of(&sizes[s], t), .trace = t}, false);
                }
                continue;
            }
            row_print(&(struct sim_setup){.policy = policies[p],
                                          .unit = sizes[s].unit,
                                          .capacity = sizes[s].n,
                                          .shards = a->shards,
                                          .trace = t},
                      sizes[s].text);
        }
    }
    mem_free(text);
    mem_free(names);
}

static void arguments_parse(struct arguments *a, int argc, char **argv) {
    enum { O_POLICY = 256, O_SIZE, O_VALUE_SIZE, O_REQUESTS, O_SHARDS, O_SEED, O_MRC, O_SHADOW, O_ITEMS, O_L2, O_RING, O_RUNS, O_HELP };
    static const struct option options[] = {{"policy", required_argument, NULL, O_POLICY},
                                            {"size", required_argument, NULL, O_SIZE},
                                            {"value-size", required_argument, NULL, O_VALUE_SIZE},
                                            {"requests", required_argument, NULL, O_REQUESTS},
                                            {"shards", required_argument, NULL, O_SHARDS},
                                            {"seed", required_argument, NULL, O_SEED},
                                            {"mrc", no_argument, NULL, O_MRC},
                                            {"shadow", required_argument, NULL, O_SHADOW},
                                            {"items", required_argument, NULL, O_ITEMS},
                                            {"l2", required_argument, NULL, O_L2},
                                            {"ring", optional_argument, NULL, O_RING},
                                            {"runs", required_argument, NULL, O_RUNS},
                                            {"help", no_argument, NULL, O_HELP},
                                            {NULL, 0, NULL, 0}};
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case O_POLICY:
            a->policies = optarg;
            break;
        case O_SIZE:
            a->sizes = optarg;
            break;
        case O_VALUE_SIZE:
            a->value_size = (uint32_t)number(optarg, 512 << 20);
            break;
        case O_REQUESTS:
            a->requests = number(optarg, UINT32_MAX);
            break;
        case O_SHARDS:
            a->shards = (unsigned)number(optarg, 4096);
            break;
        case O_SEED:
            hash_seed(number(optarg, UINT64_MAX));
            break;
        case O_MRC:
            a->mrc = true;
            break;
        case O_SHADOW:
            a->shadow = optarg;
            if (!sim_is_policy(optarg) || strncmp(optarg, "ref-", 4) == 0) {
                die("%s: no policy of the tier (see --help)", optarg);
            }
            break;
        case O_ITEMS:
            a->items = (unsigned)number(optarg, 1000000);
            break;
        case O_L2:
            a->l2 = (unsigned)number(optarg, 1000000);
            break;
        case O_RING:
            a->ring = optarg != NULL ? optarg : optind < argc && argv[optind][0] != '-' ? argv[optind++] : "3,5,10,20,50,100,300,1000";
            break;
        case O_RUNS:
            a->runs = (unsigned)number(optarg, 10000);
            break;
        case O_HELP:
            fputs(usage, stdout);
            exit(0);
        default:
            fputs(usage, stderr);
            exit(1);
        }
    }
    if (optind + (a->ring == NULL) != argc || (a->shards & (a->shards - 1)) != 0) {
        fputs(usage, stderr);
        exit(1);
    }
    a->trace = a->ring == NULL ? argv[optind] : NULL;
}

static void ring_run(const struct arguments *a) {
    unsigned nodes[MAX_SIZES], n = 0;
    char *text = mem_strdup(a->ring), *save = NULL;
    for (char *p = strtok_r(text, ",", &save); p != NULL && n < MAX_SIZES; p = strtok_r(NULL, ",", &save)) {
        nodes[n++] = (unsigned)number(p, RING_MAX_NODES);
    }
    ring_sim(nodes, n, a->runs);
    mem_free(text);
}

int main(int argc, char **argv) {
    hash_seed(1);
    struct arguments a = {.policies = "allkeys-s3fifo,ref-lru,ref-s3fifo", .sizes = "1%,10%", .shards = 1, .runs = 40};
    arguments_parse(&a, argc, argv);
    if (a.ring != NULL) {
        ring_run(&a);
        return 0;
    }
    struct trace trace;
    trace_read(&trace, a.trace, a.requests, a.value_size);
    printf("%llu requests, %u keys, %.1f MB of values%s\n", (unsigned long long)trace.n, trace.keys, (double)trace.value_bytes / 1e6,
           trace.sized ? "" : " (the trace has no sizes)");
    table_print(&a, &trace);
    trace_free(&trace);
    return 0;
}
