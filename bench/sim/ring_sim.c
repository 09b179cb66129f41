/* SPDX-License-Identifier: BSD-3-Clause */
/* ring_sim: what a join moves and how even the loads are, for each way to place slots; what a Zipf law makes of it; how long a simulated cluster takes to
 * agree that a node has come or does not answer. */
#include "bench/sim/ring_sim.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "src/base/hash.h"
#include "src/base/mem.h"
#include "src/base/sha256.h"
#include "tests/support/members_net.h"

enum { KEYS = 1000000, TIMEOUT_MS = 2000 };

/* ---- placement ---- */

static int compare_nodes(const void *a, const void *b) {
    return strcmp(((const struct ring_node *)a)->id, ((const struct ring_node *)b)->id);
}

/* All but the last are started at once; that one comes later. */
static void take_lots_at_once(struct ring_node *nodes, unsigned n, const struct ring_method *method) {
    for (unsigned i = 0; i + 1 < n; i++) {
        nodes[i].state = NODE_JOINING;
    }
    qsort(nodes, n - 1, sizeof(*nodes), compare_nodes);
    for (unsigned i = 0; i + 1 < n; i++) { /* each finds by itself what those with lower ids take, which is the same */
        nodes[i].lot = ring_choose_lot(nodes, n - 1, method->run, i);
        nodes[i].state = NODE_ALIVE;
        nodes[i].beginner = true;
    }
    for (unsigned i = 0; i + 1 < n; i++) {
        nodes[i].beginner = false;
    }
    nodes[n - 1].lot = ring_choose_lot(nodes, n, method->run, n - 1);
}

/* n nodes with random ids, in their order; the one that has joined last is marked. They have taken lots as the method says. */
static void make_nodes(struct ring_node *nodes, unsigned n, unsigned run, const struct ring_method *method) {
    memset(nodes, 0, n * sizeof(*nodes));
    for (unsigned i = 0; i < n; i++) {
        char text[64], hex[SHA256_HEX + 1];
        snprintf(text, sizeof(text), "%u/%u", run, i);
        sha256_hex(slice_cstr(text), hex);
        memcpy(nodes[i].id, hex, NODE_ID_HEX);
        nodes[i].self = i == n - 1;
        nodes[i].weight = 100;
        nodes[i].lot = method->lots == LOTS_GROWN ? ring_choose_lot(nodes, i + 1, method->run, i) : 0;
    }
    if (method->lots == LOTS_AT_ONCE) {
        take_lots_at_once(nodes, n, method);
    }
    qsort(nodes, n, sizeof(*nodes), compare_nodes);
}

struct sums {
    double moved, moved_worst, left, left_worst, most, least, most_worst, ranges, zipf, ms;
};

/* Share of the requests that each slot gets, by a Zipf law of exponent one over a million keys. */
static double *zipf_create(void) {
    double *share = mem_zalloc(RING_SLOTS * sizeof(*share)), sum = 0;
    for (unsigned i = 1; i <= KEYS; i++) {
        sum += 1.0 / i;
    }
    for (unsigned i = 1; i <= KEYS; i++) {
        char key[32];
        int n = snprintf(key, sizeof(key), "key:%u", i);
        share[hash_slot(slice_make(key, (size_t)n))] += 1 / (i * sum);
    }
    return share;
}

static void add_loads(struct sums *s, const uint16_t *owner, unsigned n, const double *zipf) {
    double *load = mem_zalloc(2 * n * sizeof(*load)), *asked = load + n, most = 0, least = RING_SLOTS, busiest = 0;
    for (unsigned slot = 0; slot < RING_SLOTS; slot++) {
        load[owner[slot]]++;
        asked[owner[slot]] += zipf[slot];
        s->ranges += slot == 0 || owner[slot] != owner[slot - 1];
    }
    for (unsigned i = 0; i < n; i++) {
        most = fmax(most, load[i]);
        least = fmin(least, load[i]);
        busiest = fmax(busiest, asked[i]);
    }
    double mean = (double)RING_SLOTS / n;
    s->most += most / mean;
    s->least += least / mean;
    s->most_worst = fmax(s->most_worst, (most - least) / mean);
    s->zipf += busiest * n;
    mem_free(load);
}

static double cpu_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* What moves between a ring and the one without a node of it, over the 1/n that must. */
static double moved_without(const struct ring_method *method, const struct ring_node *nodes, unsigned n, unsigned node, const uint16_t *owner) {
    static struct ring_node fewer[RING_MAX_NODES];
    uint16_t *without = mem_alloc(RING_SLOTS * sizeof(*without));
    unsigned moved = 0;
    memcpy(fewer, nodes, node * sizeof(*nodes));
    memcpy(fewer + node, nodes + node + 1, (n - 1 - node) * sizeof(*nodes));
    method->place(fewer, n - 1, without);
    for (unsigned slot = 0; slot < RING_SLOTS; slot++) {
        moved += owner[slot] != without[slot] + (without[slot] >= node);
    }
    mem_free(without);
    return moved * (double)n / RING_SLOTS;
}

/* The last of n nodes has joined the others; then another one leaves. */
static void add_run(struct sums *s, const struct ring_method *method, unsigned n, unsigned run, const double *zipf) {
    static struct ring_node nodes[RING_MAX_NODES];
    uint16_t *owner = mem_alloc(RING_SLOTS * sizeof(*owner));
    unsigned last = 0;
    make_nodes(nodes, n, run, method);
    while (!nodes[last].self) {
        last++;
    }
    double start_ms = cpu_ms();
    method->place(nodes, n, owner);
    s->ms += cpu_ms() - start_ms;
    double joined = moved_without(method, nodes, n, last, owner), left = moved_without(method, nodes, n, (last + 1) % n, owner);
    s->moved += joined;
    s->moved_worst = fmax(s->moved_worst, joined);
    s->left += left;
    s->left_worst = fmax(s->left_worst, left);
    add_loads(s, owner, n, zipf);
    mem_free(owner);
}

static void print_placement(const unsigned *nodes, unsigned count, unsigned runs) {
    double *zipf = zipf_create();
    printf("One node joins, one leaves; sets of ids per line: up to %u. joins, leaves: slots that change owner, over the 1/n that must, mean and worst. ranges: of consecutive slots, rows of CLUSTER SLOTS. zipf: requests of the busiest node over the "
           "mean. ms: of one core.\n\n", runs);
    printf("| nodes | placement | joins | worst | leaves | worst | most/mean | least/mean | worst spread | ranges | zipf | ms |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n");
    for (unsigned c = 0; c < count; c++) {
        unsigned n = nodes[c], some = n > 100 ? (runs + 9) / 10 : n > 20 ? (runs + 3) / 4 : runs;
        for (unsigned i = 0; ring_method(i) != NULL && n > 1; i++) {
            struct sums s = {0};
            for (unsigned run = 0; run < some; run++) {
                add_run(&s, ring_method(i), n, run, zipf);
            }
            printf("| %u | %s | %.3f | %.3f | %.3f | %.3f | %.3f | %.3f | %.1f%% | %.0f | %.2f | %.2f |\n", n, ring_method(i)->name, s.moved / some, s.moved_worst, s.left / some, s.left_worst, s.most / some,
                   s.least / some, s.most_worst * 100, s.ranges / some, s.zipf / some, s.ms / some);
            fflush(stdout);
        }
    }
    mem_free(zipf);
}

/* ---- agreement ---- */

static unsigned watched;
static int wanted;

static bool all_see(const struct net *net) {
    for (unsigned i = 0; i < net->n; i++) {
        if (i != watched && net->nodes[i].members != NULL && net_state(net, i, watched) != wanted) {
            return false;
        }
    }
    return true;
}

static double seconds(int64_t ms) {
    return (double)ms / 1000;
}

static void print_agreement_of(unsigned n) {
    struct net *net = net_create(n, n, TIMEOUT_MS);
    for (unsigned i = 0; i + 1 < n; i++) {
        net_start(net, i, 3);
    }
    int64_t formed = net_run_until(net, net_agrees, 60000);
    net_run(net, 4000);
    uint64_t sent = net->sent, bytes = net->bytes;
    net_run(net, 10000);
    double rate = (double)(net->sent - sent) / 10 / (n - 1), kbytes = (double)(net->bytes - bytes) / 10 / (n - 1) / 1000;
    net_start(net, n - 1, 3);
    int64_t joined = net_run_until(net, net_agrees, 60000);
    net_run(net, 4000);
    watched = n / 2;
    net_kill(net, watched);
    wanted = NODE_SUSPECT;
    int64_t suspected = net_run_until(net, all_see, 60000);
    wanted = NODE_DEAD;
    int64_t died = net_run_until(net, all_see, 60000);
    printf("| %u | %.2f | %.2f | %.2f | %.2f | %.0f | %.1f |\n", n, seconds(formed), seconds(joined), seconds(suspected), seconds(suspected + died), rate, kbytes);
    fflush(stdout);
    net_destroy(&net);
}

static void print_agreement(const unsigned *nodes, unsigned count) {
    printf("\nSeconds until all nodes agree, cluster-node-timeout 2s, messages take 1 to 3 ms.\n\n");
    printf("| nodes | all start at once | one joins | one is killed: all pass it over | dead for all | messages a second per node | kB/s |\n|---|---|---|---|---|---|---|\n");
    for (unsigned c = 0; c < count; c++) {
        if (nodes[c] > 2) {
            print_agreement_of(nodes[c]);
        }
    }
}

void ring_sim(const unsigned *nodes, unsigned count, unsigned runs) {
    print_placement(nodes, count, runs);
    print_agreement(nodes, count);
}
