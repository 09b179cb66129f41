/* SPDX-License-Identifier: BSD-3-Clause */
/* tier: the memory tier of src/l1 as a simulated cache, with a clock of its own.
 *
 * In memory units the tier's own limit decides, as in the server. In the other units the tier has no limit while it
 * is written; as long as it holds too much by our count its limit is one byte for the time of one eviction. */
#include <string.h>

#include "bench/load/trace.h"
#include "bench/sim/sim.h"
#include "src/base/check.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/l1/l1.h"

enum {
    KEY_BYTES = 16,
    ALIKE_BYTES = 1000,    /* value of items that are counted: the tier sums up bytes in steps of 4096 a shard */
    VICTIMS = 16,          /* per write, as the server does */
    REQUESTS_PER_TICK = 256,
    REQUESTS_PER_MS = 100,
    TICK_US = 1000000      /* no bound: the machine's speed must not show in the result */
};

struct tier {
    struct sim_cache base;
    struct l1 *l1;
    char *value; /* zeros, as long as the longest value */
    uint64_t held, requests;
    int64_t now_ms;
};

static void on_evicted(void *ctx, const struct key *key, const struct item_view *item, enum l1_below below, bool read) {
    struct tier *t = ctx;
    (void)key;
    (void)below;
    (void)read;
    t->held -= t->base.setup.unit == SIM_VALUES ? item->str.n : 1;
}

static struct sim_cache *tier_open(const struct sim_setup *setup) {
    struct tier *t = mem_zalloc(sizeof(*t));
    t->base = (struct sim_cache){&sim_tier, *setup};
    size_t longest = ALIKE_BYTES;
    for (uint64_t i = 0; i < setup->trace->n; i++) {
        longest = setup->trace->records[i].length > longest ? setup->trace->records[i].length : longest;
    }
    t->value = mem_zalloc(longest);
    t->now_ms = clock_now_ms();
    t->l1 = l1_create(&(struct l1_options){.shards = setup->shards,
                                           .limit_bytes = setup->unit == SIM_MEMORY ? setup->capacity : 0,
                                           .policy = setup->policy,
                                           .hooks = {.ctx = t, .evicted = on_evicted}});
    return &t->base;
}

static void tier_close(struct sim_cache *c) {
    struct tier *t = (struct tier *)c;
    l1_destroy(&t->l1);
    mem_free(t->value);
    mem_free(t);
}

static uint64_t tier_items(const struct sim_cache *c) {
    const struct tier *t = (const struct tier *)c;
    return l1_db_keys(t->l1, t->l1->db_map[0]);
}

/* Shard locked. */
static void make_room(struct tier *t, unsigned shard) {
    if (t->base.setup.unit == SIM_MEMORY) {
        if (l1_over_limit(t->l1)) {
            l1_make_room(t->l1, shard, VICTIMS, t->now_ms);
        }
        return;
    }
    uint64_t before = UINT64_MAX;
    while (t->held > t->base.setup.capacity && t->held < before) {
        before = t->held;
        l1_set_limit(t->l1, 1);
        l1_make_room(t->l1, shard, 1, t->now_ms);
        l1_set_limit(t->l1, 0);
    }
}

static void name_key(char *out, uint64_t key) {
    for (unsigned i = 0; i < KEY_BYTES; i++) {
        out[i] = "0123456789abcdef"[key >> (60 - 4 * i) & 15];
    }
}

static bool tier_request(struct sim_cache *c, const struct trace_record *r) {
    struct tier *t = (struct tier *)c;
    char name[KEY_BYTES];
    name_key(name, r->key);
    struct key key = key_make(slice_make(name, sizeof(name)), t->l1->db_map[0]);
    unsigned shard = l1_shard_of(t->l1, key.hash);
    struct item_view view;
    t->now_ms += t->requests % REQUESTS_PER_MS == 0;
    if (++t->requests % REQUESTS_PER_TICK == 0) {
        l1_tick(t->l1, t->now_ms, TICK_US);
    }
    l1_lock(t->l1, shard);
    bool hit = l1_get(t->l1, &key, t->now_ms, L1_TOUCH, &view);
    if (!hit) {
        bool alike = t->base.setup.unit == SIM_ITEMS;
        size_t n = alike ? ALIKE_BYTES : r->length;
        CHECK(l1_set(t->l1, &key, slice_make(t->value, n), L1_NO_TTL, 0, t->now_ms) == OK);
        t->held += t->base.setup.unit == SIM_VALUES ? n : 1;
        make_room(t, shard);
    }
    l1_unlock(t->l1, shard);
    return hit;
}

const struct sim_kind sim_tier = {
    .name = "tier", .open = tier_open, .close = tier_close, .request = tier_request, .items = tier_items};
