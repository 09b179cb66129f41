/* SPDX-License-Identifier: BSD-3-Clause */
/* stall: how long a caller can be held up by growth, eviction and expiry: the CPU time of each call of the memory tier, and of each
 * slice of its maintenance, that holds a shard's lock. CPU time of the thread, page faults included: what else the machine does while it
 * runs is left out, so that the longest of millions of calls says something about the program. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "bench/load/hist.h"
#include "src/base/hash.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/l1/l1.h"
#include "src/value/value.h"

enum { VALUE = 100, VICTIMS = 64, BIG = 1 << 20, HUGE_BYTES = 256 << 20, FIELDS = 1000000, QUIET = 16 };
#define NOTHING_NS 4000000000ULL

static const char usage[] = "usage: strata-stall [--keys N (2000000)] [--shards N (8)] [--policy NAME (allkeys-s3fifo)]\n";

static char *bytes;
static int64_t now_ms;

static uint64_t thread_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* ---- one measured call each ---- */

static struct hist *hist;
static uint64_t longer; /* than a millisecond */

static void begin(void) {
    memset(hist, 0, sizeof(*hist));
    longer = 0;
}

static void count(uint64_t since) {
    uint64_t ns = thread_ns() - since;
    hist_add(hist, ns, 1);
    longer += ns > 1000000;
}

static void report(const char *what) {
    printf("%-58s %9llu %8.1f %8.1f %8.1f %6llu\n", what, (unsigned long long)hist->n, (double)hist_percentile(hist, 50) / 1000,
           (double)hist_percentile(hist, 99.9) / 1000, (double)hist->max / 1000, (unsigned long long)longer);
    fflush(stdout);
}

static struct key name(char *buf, size_t room, uint64_t i) {
    return key_make(slice_make(buf, (size_t)snprintf(buf, room, "key:%016llu", (unsigned long long)i)), 0);
}

/* As the server does it for a SET. */
static void set(struct l1 *l1, uint64_t i, size_t n, int64_t expire_ms) {
    char buf[32];
    struct key key = name(buf, sizeof(buf), i);
    unsigned shard = l1_shard_of(l1, key.hash);
    uint64_t since = thread_ns();
    l1_lock(l1, shard);
    bool ok = l1_set(l1, &key, slice_make(bytes, n), expire_ms, 0, now_ms) == OK;
    if (l1_over_limit(l1)) {
        l1_make_room(l1, shard, VICTIMS, now_ms);
    }
    l1_unlock(l1, shard);
    count(since);
    if (!ok) {
        fprintf(stderr, "out of memory\n");
        exit(1);
    }
}

static void get(struct l1 *l1, uint64_t i) {
    char buf[32];
    struct key key = name(buf, sizeof(buf), i);
    struct item_view view;
    l1_lock(l1, l1_shard_of(l1, key.hash));
    l1_get(l1, &key, now_ms, L1_TOUCH, &view);
    l1_unlock(l1, l1_shard_of(l1, key.hash));
}

static void del(struct l1 *l1, uint64_t i) {
    char buf[32];
    struct key key = name(buf, sizeof(buf), i);
    unsigned shard = l1_shard_of(l1, key.hash);
    uint64_t since = thread_ns();
    l1_lock(l1, shard);
    l1_del(l1, &key, now_ms);
    l1_unlock(l1, shard);
    count(since);
}

/* Slices of maintenance until a whole round of them found nothing to do. */
static void slices(struct l1 *l1) {
    struct l1_stats before, after;
    l1_stats_read(l1, &before);
    for (unsigned quiet = 0; quiet < QUIET;) {
        for (unsigned i = 0; i < QUIET * l1->shard_count; i++) {
            uint64_t since = thread_ns();
            l1_tick(l1, now_ms, 0);
            count(since);
        }
        l1_stats_read(l1, &after);
        quiet = memcmp(&before, &after, sizeof(before)) == 0 ? quiet + 1 : 0;
        before = after;
    }
}

/* ---- what can hold up a caller ---- */

static void fill(struct l1 *l1, uint64_t from, uint64_t n, size_t size, int64_t expire_ms) {
    for (uint64_t i = from; i < from + n; i++) {
        set(l1, i, size, expire_ms);
    }
}

/* What the clock and the machine add: calls that do nothing, for as long as the longest of the others takes. */
static void nothing(void) {
    begin();
    for (uint64_t end = thread_ns() + NOTHING_NS; thread_ns() < end;) {
        count(thread_ns());
    }
    report("nothing at all");
}

static void growth_and_eviction(struct l1 *l1, uint64_t keys) {
    begin();
    fill(l1, 0, keys, VALUE, L1_NO_TTL);
    report("a SET while the table grows from nothing");
    l1_set_limit(l1, l1_bytes(l1));
    begin();
    fill(l1, keys, keys, VALUE, L1_NO_TTL);
    report("a SET that evicts");
    for (uint64_t i = keys; i < 2 * keys; i++) { /* every item has all the credit there is */
        for (int k = 0; k < 4; k++) {
            get(l1, i);
        }
    }
    begin();
    fill(l1, 2 * keys, keys / 4, VALUE, L1_NO_TTL);
    report("a SET that evicts, all items hot");
    begin();
    fill(l1, 3 * keys, keys / 50, 4000, L1_NO_TTL);
    report("a SET of 4 kB that evicts items of 100 B");
    begin();
    fill(l1, 4 * keys, 200, BIG, L1_NO_TTL);
    report("a SET of 1 MB that evicts items of 100 B");
    begin();
    slices(l1);
    report("slices: what is over the limit, chunks compacted");
    l1_set_limit(l1, l1_bytes(l1) / 4);
    begin();
    slices(l1);
    report("slices: the limit falls to a quarter");
    l1_set_limit(l1, 0);
}

static void expiry_and_flush(struct l1 *l1, uint64_t keys) {
    begin();
    fill(l1, 0, keys, VALUE, now_ms + 600000);
    report("a SET with a deadline, the same for all");
    now_ms += 700000;
    begin();
    slices(l1);
    report("slices: all expire at one moment, tables shrink");
    fill(l1, 0, keys, VALUE, L1_NO_TTL);
    l1_lock_all(l1);
    uint64_t since = thread_ns();
    begin();
    l1_flush_all(l1);
    count(since);
    l1_unlock_all(l1);
    report("FLUSHALL");
    begin();
    slices(l1);
    report("slices: what was flushed is swept");
}

static struct value *large_hash(void) {
    struct value *v = hash_create();
    const struct hash_limits limits = {0};
    char field[32];
    for (int i = 0; i < FIELDS; i++) {
        bool created;
        size_t n = (size_t)snprintf(field, sizeof(field), "field:%d", i);
        if (hash_set(v, slice_make(field, n), slice_make(bytes, 20), &limits, &created) != OK) {
            exit(1);
        }
    }
    return v;
}

static void large_values(struct l1 *l1) {
    char buf[32];
    struct key key = name(buf, sizeof(buf), 0);
    l1_lock(l1, l1_shard_of(l1, key.hash));
    bool ok = l1_set_value(l1, &key, large_hash(), L1_NO_TTL, now_ms) == OK;
    l1_unlock(l1, l1_shard_of(l1, key.hash));
    begin();
    del(l1, 0);
    slices(l1);
    report("DEL of a hash of a million fields, and the slices behind it");
    begin();
    for (uint64_t i = 1; ok && i <= 4; i++) {
        char *large = mem_alloc(HUGE_BYTES);
        memset(large, 1, HUGE_BYTES);
        struct key k = name(buf, sizeof(buf), i);
        struct blob *blob = blob_adopt(large, HUGE_BYTES, slice_make(large, HUGE_BYTES));
        l1_lock(l1, l1_shard_of(l1, k.hash));
        ok = blob != NULL && l1_set_blob(l1, &k, blob, L1_NO_TTL, 0, now_ms) == OK;
        l1_unlock(l1, l1_shard_of(l1, k.hash));
        del(l1, i);
    }
    report("DEL of a string of 256 MB");
}

int main(int argc, char **argv) {
    static const struct option options[] = {
        {"keys", required_argument, NULL, 'k'}, {"shards", required_argument, NULL, 's'}, {"policy", required_argument, NULL, 'p'}, {NULL, 0, NULL, 0}};
    uint64_t keys = 2000000;
    struct l1_options o = {.shards = 8, .policy = "allkeys-s3fifo"};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 'k': keys = strtoull(optarg, NULL, 10); break;
        case 's': o.shards = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'p': o.policy = optarg; break;
        default: fputs(usage, stderr); return 2;
        }
    }
    mem_start();
    if (keys < 1000 || o.shards == 0 || o.shards > 4096 || (o.shards & (o.shards - 1)) != 0) {
        fputs(usage, stderr);
        return 2;
    }
    rng_seed(1);
    hash_seed(1);
    bytes = mem_zalloc(BIG);
    hist = mem_alloc(sizeof(*hist));
    struct timespec wall;
    clock_gettime(CLOCK_REALTIME, &wall);
    now_ms = (int64_t)wall.tv_sec * 1000;
    printf("%-58s %9s %8s %8s %8s %6s\n", "CPU time of each, us", "calls", "p50", "p99.9", "longest", ">1 ms");
    nothing();
    struct l1 *l1 = l1_create(&o);
    growth_and_eviction(l1, keys);
    l1_destroy(&l1);
    l1 = l1_create(&o);
    expiry_and_flush(l1, keys);
    large_values(l1);
    l1_destroy(&l1);
    mem_free(hist);
    mem_free(bytes);
    return 0;
}
