/* SPDX-License-Identifier: BSD-3-Clause */
/* hotkeys: one session at a time, sums per loop. */
#include "src/sight/hotkeys.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "src/base/lock.h"
#include "src/base/mem.h"
#include "src/base/rng.h"

struct ledger {
    /* SIGHT lock */
    struct lock lock;
    struct topk *keys[HOT_METRICS]; /* NULL: not measured */
    uint64_t all[HOT_METRICS], slots[HOT_METRICS], sampled[HOT_METRICS];
};

struct hotkeys {
    unsigned loops;
    _Atomic bool active;
    struct ledger *ledgers;
    /* SIGHT lock: changed by who starts and stops, with every ledger's lock held as well */
    struct lock lock;
    struct hotkeys_order order;
    bool known;
    int64_t started_ms, ended_ms;
    int64_t user_us, sys_us; /* of the process at the start; between start and stop afterwards */
};

struct hotkeys *hotkeys_create(unsigned loops, uint32_t lock_order) {
    struct hotkeys *h = mem_zalloc(sizeof(*h));
    h->loops = loops;
    h->ledgers = mem_zalloc(loops * sizeof(*h->ledgers));
    lock_init(&h->lock, LOCK_SIGHT, lock_order);
    for (unsigned i = 0; i < loops; i++) {
        lock_init(&h->ledgers[i].lock, LOCK_SIGHT, lock_order + 1 + i);
    }
    return h;
}

static void clear(struct ledger *l) {
    for (unsigned m = 0; m < HOT_METRICS; m++) {
        if (l->keys[m] != NULL) {
            topk_destroy(&l->keys[m]);
        }
        l->all[m] = l->slots[m] = l->sampled[m] = 0;
    }
}

void hotkeys_destroy(struct hotkeys **hp) {
    struct hotkeys *h = *hp;
    *hp = NULL;
    for (unsigned i = 0; i < h->loops; i++) {
        clear(&h->ledgers[i]);
    }
    mem_free(h->ledgers);
    mem_free(h);
}

static void lock_all(struct hotkeys *h) {
    lock_acquire(&h->lock);
    for (unsigned i = 0; i < h->loops; i++) {
        lock_acquire(&h->ledgers[i].lock);
    }
}

static void unlock_all(struct hotkeys *h) {
    for (unsigned i = h->loops; i-- > 0;) {
        lock_release(&h->ledgers[i].lock);
    }
    lock_release(&h->lock);
}

static void cpu_times(int64_t *user_us, int64_t *sys_us) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    *user_us = (int64_t)u.ru_utime.tv_sec * 1000000 + u.ru_utime.tv_usec;
    *sys_us = (int64_t)u.ru_stime.tv_sec * 1000000 + u.ru_stime.tv_usec;
}

/* ---- start and stop ---- */

static bool is_over(const struct hotkeys *h, int64_t now_ms) {
    return h->order.duration_ms > 0 && now_ms - h->started_ms >= h->order.duration_ms;
}

/* Locked. */
static void end(struct hotkeys *h, int64_t now_ms) {
    int64_t user_us, sys_us, last = h->started_ms + h->order.duration_ms;
    atomic_store(&h->active, false);
    cpu_times(&user_us, &sys_us);
    h->user_us = user_us - h->user_us;
    h->sys_us = sys_us - h->sys_us;
    h->ended_ms = is_over(h, now_ms) ? last : now_ms;
}

bool hotkeys_is_active(const struct hotkeys *h) {
    return atomic_load_explicit(&h->active, memory_order_relaxed);
}

bool hotkeys_start(struct hotkeys *h, const struct hotkeys_order *order, int64_t now_ms) {
    hotkeys_tick(h, now_ms);
    lock_all(h);
    bool idle = !hotkeys_is_active(h);
    if (idle) {
        h->order = *order;
        h->known = true;
        h->started_ms = now_ms;
        cpu_times(&h->user_us, &h->sys_us);
        for (unsigned i = 0; i < h->loops; i++) {
            clear(&h->ledgers[i]);
            for (unsigned m = 0; m < HOT_METRICS; m++) {
                h->ledgers[i].keys[m] = order->metric[m] ? topk_create() : NULL;
            }
        }
        atomic_store(&h->active, true);
    }
    unlock_all(h);
    return idle;
}

bool hotkeys_stop(struct hotkeys *h, int64_t now_ms) {
    lock_all(h);
    bool active = hotkeys_is_active(h);
    if (active) {
        end(h, now_ms);
    }
    unlock_all(h);
    return active;
}

bool hotkeys_reset(struct hotkeys *h) {
    lock_all(h);
    bool idle = !hotkeys_is_active(h);
    for (unsigned i = 0; idle && i < h->loops; i++) {
        clear(&h->ledgers[i]);
    }
    h->known &= !idle;
    unlock_all(h);
    return idle;
}

void hotkeys_tick(struct hotkeys *h, int64_t now_ms) {
    if (!hotkeys_is_active(h)) {
        return;
    }
    lock_all(h);
    if (hotkeys_is_active(h) && is_over(h, now_ms)) {
        end(h, now_ms);
    }
    unlock_all(h);
}

/* ---- calls ---- */

static bool has_slot(const struct hotkeys_order *o, struct slice name) {
    if (!o->by_slot) {
        return true;
    }
    uint16_t slot = hash_slot(name);
    return (o->slots[slot / 64] >> (slot % 64) & 1) != 0;
}

static void charge_keys(struct ledger *l, const struct hotkeys_order *o, const struct key *keys, int nkeys, const uint64_t *weight) {
    for (int i = 0; i < nkeys; i++) {
        for (unsigned m = 0; m < HOT_METRICS && has_slot(o, keys[i].name); m++) {
            uint64_t part = weight[m] / (uint64_t)nkeys;
            if (l->keys[m] != NULL && part > 0) {
                topk_add(l->keys[m], &keys[i], part < UINT32_MAX ? (uint32_t)part : UINT32_MAX);
            }
        }
    }
}

void hotkeys_charge(struct hotkeys *h, unsigned loop, const struct key *keys, int nkeys, uint64_t us16, uint64_t bytes) {
    struct ledger *l = &h->ledgers[loop];
    const uint64_t weight[HOT_METRICS] = {[HOT_CPU] = us16, [HOT_NET] = bytes};
    lock_acquire(&l->lock);
    const struct hotkeys_order *o = &h->order; /* stable while any ledger is locked */
    if (hotkeys_is_active(h)) {
        bool slot = false, sampled = o->sample <= 1 || rng_below(o->sample) == 0;
        for (int i = 0; i < nkeys && !slot; i++) {
            slot = has_slot(o, keys[i].name);
        }
        for (unsigned m = 0; m < HOT_METRICS; m++) {
            l->all[m] += weight[m];
            l->slots[m] += slot ? weight[m] : 0;
            l->sampled[m] += slot && sampled ? weight[m] : 0;
        }
        if (slot && sampled) {
            charge_keys(l, o, keys, nkeys, weight);
        }
    }
    lock_release(&l->lock);
}

/* ---- the report ---- */

struct merged {
    uint64_t hash;
    struct hotkeys_key key;
};

static int by_weight(const void *a, const void *b) {
    uint64_t x = ((const struct merged *)a)->key.weight, y = ((const struct merged *)b)->key.weight;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* Everything locked. */
static void merge(struct hotkeys *h, enum hotkeys_metric m, struct hotkeys_report *out) {
    struct topk_item items[TOPK_KEEP];
    struct merged *all = mem_alloc(h->loops * TOPK_KEEP * sizeof(*all));
    unsigned n = 0;
    for (unsigned i = 0; i < h->loops; i++) {
        unsigned k = h->ledgers[i].keys[m] != NULL ? topk_list(h->ledgers[i].keys[m], items, TOPK_KEEP) : 0;
        for (unsigned j = 0; j < k; j++) {
            unsigned at = 0;
            while (at < n && all[at].hash != items[j].hash) {
                at++;
            }
            if (at == n) {
                all[n++] = (struct merged){.hash = items[j].hash, .key.name_n = (uint16_t)items[j].name.n};
                memcpy(all[at].key.name, items[j].name.p, items[j].name.n);
            }
            all[at].key.weight += items[j].weight;
        }
    }
    qsort(all, n, sizeof(*all), by_weight);
    out->n[m] = n < h->order.count ? n : h->order.count;
    out->keys[m] = mem_alloc(out->n[m] * sizeof(*out->keys[m]));
    for (unsigned i = 0; i < out->n[m]; i++) {
        out->keys[m][i] = all[i].key;
    }
    mem_free(all);
}

static void to_us(struct hotkeys_report *r) {
    r->all[HOT_CPU] /= 16;
    r->slots[HOT_CPU] /= 16;
    r->sampled[HOT_CPU] /= 16;
    for (unsigned i = 0; i < r->n[HOT_CPU]; i++) {
        r->keys[HOT_CPU][i].weight /= 16;
    }
}

bool hotkeys_report(struct hotkeys *h, int64_t now_ms, struct hotkeys_report *out) {
    hotkeys_tick(h, now_ms);
    lock_all(h);
    bool known = h->known;
    if (known) {
        int64_t user_us = h->user_us, sys_us = h->sys_us;
        bool active = hotkeys_is_active(h);
        *out = (struct hotkeys_report){.active = active, .order = h->order, .started_ms = h->started_ms};
        out->took_ms = (active ? now_ms : h->ended_ms) - h->started_ms;
        if (active) {
            cpu_times(&user_us, &sys_us);
            user_us -= h->user_us;
            sys_us -= h->sys_us;
        }
        out->user_ms = (uint64_t)user_us / 1000;
        out->sys_ms = (uint64_t)sys_us / 1000;
        for (unsigned m = 0; m < HOT_METRICS; m++) {
            for (unsigned i = 0; i < h->loops; i++) {
                out->all[m] += h->ledgers[i].all[m];
                out->slots[m] += h->ledgers[i].slots[m];
                out->sampled[m] += h->ledgers[i].sampled[m];
            }
            merge(h, (enum hotkeys_metric)m, out);
        }
        to_us(out);
    }
    unlock_all(h);
    return known;
}

void hotkeys_report_free(struct hotkeys_report *r) {
    for (unsigned m = 0; m < HOT_METRICS; m++) {
        mem_free(r->keys[m]);
    }
}
