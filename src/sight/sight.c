/* SPDX-License-Identifier: BSD-3-Clause */
/* sight: rings, the thread that drains them, and what is published. */
#include "src/sight/sight.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/buf.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/rt/pool.h"

enum {
    RING_MOST = 512,         /* accesses of one loop on their way, */
    RING_LEAST = 8,
    RINGS = 1024,            /* and about so many of all loops */
    HOT_LISTS = 2,           /* HeavyKeepers, which more loops than that share */
    BUDGET_SHARE = 100,      /* of a processor */
    BUDGET_MOST_US = 50000,  /* saved up */
    PUBLISH_US = 500000,
    FADE_MS = 180000,        /* counts of curves are halved so often, */
    HOT_FADE_MS = 60000,     /* and those of hot keys */
    REST_MS = 1000,          /* between looks when there is nothing new */
    RAISE_US = 300000000,    /* calm for so long before the sample grows */
    MEMORY_MOST = 1 << 20,   /* bytes of all of it; the sample is as large as that allows: */
    MEMORY_MINIS = 365000,   /* the miniatures of memory, shadow included, before they hold anything, */
    MEMORY_DISK = 303000,    /* the disk's shelves, */
    MEMORY_ITEM = 44,        /* each item */
    LOCK_PUBLISHED = 0,      /* orders of SIGHT locks */
    LOCK_BIG = 1,
    LOCK_HOT = 2,            /* one per list, */
    LOCK_TRACKING = 4096     /* but those of HOTKEYS */
};

/* From a loop to the thread. */
struct ring {
    _Atomic uint32_t head, tail;
    _Atomic uint64_t sampled, lost;
    struct mrc_event *events; /* a power of two of them */
};

struct hot {
    /* SIGHT lock */
    struct lock lock;
    struct topk *keys;
};

struct sight_state {
    struct sight *sight;
    struct sight_options options;
    struct ring *rings;
    struct mrc_event *events; /* of all rings */
    uint32_t ring_size;
    struct hot *hot;
    unsigned hot_lists;
    struct pool *pool;
    struct job job;
    _Atomic bool busy; /* the job is queued or runs */
    int64_t woken_ms;  /* by sight_tick, which alone looks at it */

    /* SIGHT lock */
    struct lock lock;
    struct sight_now now;
    bool told;                 /* now is set */
    struct mrc_report reports[MRC_RULES + 1];
    double hot_seconds;        /* that hot keys' counts stand for */
    int64_t hot_ms, hot_fade_ms; /* when that was counted; when they were halved */
    _Atomic uint64_t cpu_us;

    /* the job's alone */
    struct mrc *mrc;
    uint64_t reads, rule_reads[MRC_RULES], rules_version;
    bool counting;             /* reads is of before */
    uint64_t lost;
    int64_t drained_us, published_us, calm_since_us, faded_ms;
    double budget_us;
};

static uint32_t ring_size(unsigned loops) {
    uint32_t size = RING_MOST;
    while (size > RING_LEAST && size * loops > RINGS) {
        size /= 2;
    }
    return size;
}

static unsigned hot_lists(unsigned loops) {
    return loops < HOT_LISTS ? loops : HOT_LISTS;
}

/* What the event loops' parts take: with more loops each has a smaller one. */
static size_t loops_bytes(unsigned loops) {
    return loops * (sizeof(struct ring) + ring_size(loops) * sizeof(struct mrc_event)) + hot_lists(loops) * (sizeof(struct hot) + topk_bytes());
}

/* ---- loops ---- */

static void wake(struct sight_state *st) {
    if (!atomic_exchange_explicit(&st->busy, true, memory_order_acq_rel) && !pool_submit(st->pool, 0, &st->job)) {
        atomic_store_explicit(&st->busy, false, memory_order_release);
    }
}

void sight_note(struct sight *s, unsigned loop, const struct mrc_event *e) {
    struct sight_state *st = s->state;
    struct ring *r = &st->rings[loop];
    uint32_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    uint32_t n = tail - atomic_load_explicit(&r->head, memory_order_acquire);
    if (n == st->ring_size) {
        atomic_fetch_add_explicit(&r->lost, e->kind == MRC_READ, memory_order_relaxed);
        return;
    }
    r->events[tail & (st->ring_size - 1)] = *e;
    atomic_store_explicit(&r->tail, tail + 1, memory_order_release);
    if (n + 1 == st->ring_size / 2) {
        wake(st);
    }
}

void sight_hot(struct sight *s, unsigned loop, const struct key *key, uint32_t weight) {
    struct hot *h = &s->state->hot[loop % s->state->hot_lists];
    lock_acquire(&h->lock);
    topk_add(h->keys, key, weight);
    lock_release(&h->lock);
}

/* ---- the thread ---- */

/* Takes what is in the ring now. */
static void drain_ring(struct sight_state *st, struct ring *r, int64_t now_ms) {
    uint32_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    uint32_t n = atomic_load_explicit(&r->tail, memory_order_acquire) - head;
    for (uint32_t i = 0; i < n; i++) {
        struct mrc_event e = r->events[(head + i) & (st->ring_size - 1)];
        atomic_store_explicit(&r->head, head + i + 1, memory_order_release);
        mrc_feed(st->mrc, &e, now_ms);
    }
    atomic_fetch_add_explicit(&r->sampled, n, memory_order_relaxed);
}

static uint64_t lost_of(const struct sight_state *st) {
    uint64_t n = 0;
    for (unsigned i = 0; i < st->options.loops; i++) {
        n += atomic_load_explicit(&st->rings[i].lost, memory_order_relaxed);
    }
    return n;
}

static uint64_t since(uint64_t *before, uint64_t now) {
    uint64_t n = now >= *before ? now - *before : now; /* statistics were reset */
    *before = now;
    return n;
}

/* What the cron has said last. */
static void take_now(struct sight_state *st, const struct sight_now *now) {
    uint64_t rules[MRC_RULES];
    mrc_set_tiers(st->mrc, &now->tiers);
    if (now->rules_version != st->rules_version) {
        mrc_forget_rules(st->mrc);
        st->rules_version = now->rules_version;
        memcpy(st->rule_reads, now->rule_reads, sizeof(st->rule_reads));
    }
    for (unsigned i = 0; i < MRC_RULES; i++) {
        rules[i] = since(&st->rule_reads[i], now->rule_reads[i]);
    }
    uint64_t reads = since(&st->reads, now->reads);
    if (st->counting) {
        mrc_reads(st->mrc, reads, rules, 0);
    }
    st->counting = true;
    if (now->now_ms - st->faded_ms >= FADE_MS || now->now_ms < st->faded_ms) {
        st->faded_ms = now->now_ms;
        mrc_fade(st->mrc);
    }
    mrc_tick(st->mrc, now->now_ms);
}

/* The sample becomes smaller when it takes more than its time, and larger when it has long taken much less. */
static void keep_budget(struct sight_state *st, int64_t cpu_us, bool overflowed, int64_t now_ms) {
    int64_t mono_us = clock_mono_us();
    st->budget_us += (double)(mono_us - st->drained_us) / BUDGET_SHARE - (double)cpu_us;
    st->drained_us = mono_us;
    bool calm = st->budget_us >= BUDGET_MOST_US / 2 && mrc_is_small(st->mrc);
    st->budget_us = st->budget_us < BUDGET_MOST_US ? st->budget_us : BUDGET_MOST_US;
    if (overflowed || st->budget_us < 0) {
        mrc_lower_rate(st->mrc, now_ms);
        mrc_lower_rate(st->mrc, now_ms);
        st->budget_us = 0;
    }
    if (!calm) {
        st->calm_since_us = mono_us;
    } else if (mono_us - st->calm_since_us >= RAISE_US) {
        mrc_double_rate(st->mrc);
        st->calm_since_us = mono_us;
    }
    atomic_store_explicit(&st->sight->below, mrc_below(st->mrc), memory_order_relaxed);
}

static void publish(struct sight_state *st) {
    struct mrc_report reports[MRC_RULES + 1];
    for (unsigned i = 0; i <= MRC_RULES; i++) {
        mrc_report(st->mrc, i, &reports[i]);
    }
    lock_acquire(&st->lock);
    memcpy(st->reports, reports, sizeof(reports));
    lock_release(&st->lock);
}

static void run(struct job *job) {
    struct sight_state *st = (struct sight_state *)((char *)job - offsetof(struct sight_state, job));
    int64_t start_us = clock_thread_us(), now_ms = clock_now_ms();
    lock_acquire(&st->lock);
    struct sight_now now = st->now;
    bool told = st->told;
    st->told = false;
    lock_release(&st->lock);
    for (unsigned i = 0; i < st->options.loops; i++) {
        drain_ring(st, &st->rings[i], now_ms);
    }
    uint64_t lost = since(&st->lost, lost_of(st));
    bool overflowed = lost > 0;
    mrc_lost(st->mrc, lost);
    if (told) {
        take_now(st, &now);
    }
    int64_t mono_us = clock_mono_us();
    if (told && (mono_us - st->published_us >= PUBLISH_US || st->options.inline_jobs)) {
        st->published_us = mono_us;
        publish(st);
    }
    int64_t cpu_us = clock_thread_us() - start_us;
    atomic_fetch_add_explicit(&st->cpu_us, (uint64_t)cpu_us, memory_order_relaxed);
    keep_budget(st, st->options.inline_jobs ? 0 : cpu_us, overflowed, now_ms);
    atomic_store_explicit(&st->busy, false, memory_order_release);
}

void sight_drain(struct sight *s) {
    wake(s->state);
}

/* ---- cron ---- */

static void fade_hot(struct sight_state *st, int64_t now_ms) {
    int64_t passed = now_ms - st->hot_ms;
    st->hot_seconds += passed > 0 ? (double)passed / 1000 : 0;
    st->hot_ms = now_ms;
    if (now_ms - st->hot_fade_ms < HOT_FADE_MS && now_ms >= st->hot_fade_ms) {
        return;
    }
    st->hot_fade_ms = now_ms;
    st->hot_seconds /= 2;
    for (unsigned i = 0; i < st->hot_lists; i++) {
        lock_acquire(&st->hot[i].lock);
        topk_halve(st->hot[i].keys);
        lock_release(&st->hot[i].lock);
    }
}

static bool has_events(const struct sight_state *st) {
    for (unsigned i = 0; i < st->options.loops; i++) {
        const struct ring *r = &st->rings[i];
        if (atomic_load_explicit(&r->tail, memory_order_relaxed) != atomic_load_explicit(&r->head, memory_order_relaxed)) {
            return true;
        }
    }
    return false;
}

void sight_tick(struct sight *s, const struct sight_now *now) {
    struct sight_state *st = s->state;
    lock_acquire(&st->lock);
    st->now = *now;
    st->told = true;
    fade_hot(st, now->now_ms);
    lock_release(&st->lock);
    hotkeys_tick(s->tracking, now->now_ms);
    if (has_events(st) || now->now_ms - st->woken_ms >= REST_MS || now->now_ms < st->woken_ms) {
        st->woken_ms = now->now_ms;
        wake(st);
    }
}

/* ---- life ---- */

unsigned sight_items(const struct sight_options *o) {
    size_t taken = MEMORY_MINIS + (o->l2 ? MEMORY_DISK : 0) + loops_bytes(o->loops);
    size_t items = taken < MEMORY_MOST ? (MEMORY_MOST - taken) / MEMORY_ITEM : 0;
    return items > MRC_ITEMS ? MRC_ITEMS : (unsigned)items;
}

struct sight *sight_create(const struct sight_options *o, const struct mrc_tiers *tiers) {
    struct sight *s = mem_zalloc(sizeof(*s));
    struct sight_state *st = s->state = mem_zalloc(sizeof(*st));
    st->sight = s;
    st->options = *o;
    st->ring_size = ring_size(o->loops);
    st->hot_lists = hot_lists(o->loops);
    st->rings = mem_zalloc(o->loops * sizeof(*st->rings));
    st->events = mem_zalloc(o->loops * st->ring_size * sizeof(*st->events));
    st->hot = mem_zalloc(st->hot_lists * sizeof(*st->hot));
    lock_init(&st->lock, LOCK_SIGHT, LOCK_PUBLISHED);
    for (unsigned i = 0; i < o->loops; i++) {
        st->rings[i].events = st->events + i * st->ring_size;
    }
    for (unsigned i = 0; i < st->hot_lists; i++) {
        lock_init(&st->hot[i].lock, LOCK_SIGHT, LOCK_HOT + i);
        st->hot[i].keys = topk_create();
    }
    big_init(&s->big, LOCK_BIG);
    s->tracking = hotkeys_create(o->loops, LOCK_TRACKING);
    st->mrc = mrc_create(&(struct mrc_options){.l2 = o->l2, .items = sight_items(o)}, tiers);
    st->job.run = run;
    st->drained_us = st->calm_since_us = clock_mono_us();
    st->budget_us = BUDGET_MOST_US;
    st->hot_ms = st->hot_fade_ms = st->faded_ms = clock_now_ms();
    atomic_init(&s->below, mrc_below(st->mrc));
    st->pool = pool_create(&(struct pool_options){.name = "sight", .threads = o->inline_jobs ? 0 : 1, .lanes = 1, .depth = 4});
    publish(st);
    return s;
}

void sight_destroy(struct sight **sp) {
    struct sight *s = *sp;
    struct sight_state *st = s->state;
    *sp = NULL;
    pool_destroy(&st->pool);
    mrc_destroy(&st->mrc);
    hotkeys_destroy(&s->tracking);
    big_fini(&s->big);
    for (unsigned i = 0; i < st->hot_lists; i++) {
        topk_destroy(&st->hot[i].keys);
    }
    mem_free(st->hot);
    mem_free(st->events);
    mem_free(st->rings);
    mem_free(st);
    mem_free(s);
}

/* ---- what is known ---- */

void sight_mrc(struct sight *s, unsigned rule, struct mrc_report *out) {
    struct sight_state *st = s->state;
    lock_acquire(&st->lock);
    *out = st->reports[rule <= MRC_RULES ? rule : 0];
    lock_release(&st->lock);
}

struct merged {
    uint64_t hash;
    struct sight_key key;
};

static int by_accesses(const void *a, const void *b) {
    uint64_t x = ((const struct merged *)a)->key.accesses, y = ((const struct merged *)b)->key.accesses;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* Adds a list; a key that another one has, too, counts together. */
static unsigned merge(const struct topk *t, struct merged *all, unsigned n) {
    struct topk_item items[TOPK_KEEP];
    unsigned k = topk_list(t, items, TOPK_KEEP);
    for (unsigned j = 0; j < k; j++) {
        unsigned at = 0;
        while (at < n && all[at].hash != items[j].hash) {
            at++;
        }
        if (at == n) {
            n++;
            all[at] = (struct merged){.hash = items[j].hash, .key = {.db = items[j].db, .cut = items[j].cut, .name_n = (uint16_t)items[j].name.n}};
            memcpy(all[at].key.name, items[j].name.p, items[j].name.n);
        }
        all[at].key.accesses += items[j].weight * SIGHT_HOT_EVERY;
    }
    return n;
}

unsigned sight_hot_keys(struct sight *s, unsigned max, struct sight_key **out) {
    struct sight_state *st = s->state;
    struct merged *all = mem_alloc(st->hot_lists * TOPK_KEEP * sizeof(*all));
    unsigned n = 0;
    for (unsigned i = 0; i < st->hot_lists; i++) {
        lock_acquire(&st->hot[i].lock);
        n = merge(st->hot[i].keys, all, n);
        lock_release(&st->hot[i].lock);
    }
    lock_acquire(&st->lock);
    double seconds = st->hot_seconds + (double)(clock_now_ms() - st->hot_ms) / 1000;
    lock_release(&st->lock);
    qsort(all, n, sizeof(*all), by_accesses);
    n = n < max ? n : max;
    *out = mem_alloc(n * sizeof(**out));
    for (unsigned i = 0; i < n; i++) {
        (*out)[i] = all[i].key;
        (*out)[i].per_second = (double)all[i].key.accesses / (seconds > 1 ? seconds : 1);
    }
    mem_free(all);
    return n;
}

void sight_stats(struct sight *s, struct sight_stats *out) {
    struct sight_state *st = s->state;
    struct mrc_report r;
    sight_mrc(s, 0, &r);
    *out = (struct sight_stats){.lost = lost_of(st), .cpu_us = atomic_load_explicit(&st->cpu_us, memory_order_relaxed)};
    out->memory = r.memory + sizeof(*s) + sizeof(*st) + loops_bytes(st->options.loops);
    for (unsigned i = 0; i < st->options.loops; i++) {
        out->sampled += atomic_load_explicit(&st->rings[i].sampled, memory_order_relaxed);
    }
}

static void info_size(char *out, size_t n, double bytes) {
    if (bytes >= 1 << 30) {
        snprintf(out, n, "%.3g GB", bytes / (1 << 30));
    } else {
        snprintf(out, n, "%.3g MB", bytes / (1 << 20));
    }
}

void sight_info(struct sight *s, struct buf *out) {
    struct mrc_report r;
    struct sight_stats st;
    char size[32];
    sight_mrc(s, 0, &r);
    sight_stats(s, &st);
    double more = (double)(1 << 30), most = (double)r.l1_bytes * (mrc_scales[MRC_SCALES - 1] - 1);
    more = more < most ? more : most; /* the curve ends there */
    info_size(size, sizeof(size), more);
    double gain = mrc_hit_at(&r, (double)r.l1_bytes + more) - r.l1_hit[MRC_TODAY];
    buf_printf(out, "l1_more:+%s L1 = %+.1f points%s\r\n", size, gain * 100, r.rough ? " (rough)" : "");
    buf_printf(out, "mrc_l1_hit_rate:%.4f\r\n", r.l1_hit[MRC_TODAY]);
    if (r.has_l2) {
        double l2 = r.l2_hit[MRC_TODAY + 2] - r.l2_hit[MRC_TODAY];
        info_size(size, sizeof(size), (double)r.l2_bytes);
        buf_printf(out, "l2_more:+%s L2 = %+.1f points%s\r\nmrc_l2_hit_rate:%.4f\r\n", size, l2 * 100, r.rough ? " (rough)" : "", r.l2_hit[MRC_TODAY]);
    }
    if (r.has_shadow) {
        buf_printf(out, "shadow_policy:%s\r\nshadow_hit_rate:%.4f\r\nshadow_gain:%s instead of %s = %+.1f points%s\r\n", r.shadow, r.shadow_hit, r.shadow,
                   r.policy, (r.shadow_hit - r.l1_hit[MRC_TODAY]) * 100, r.rough ? " (rough)" : "");
    }
    buf_printf(out, "mrc_sample_rate:%.4f\r\nmrc_sampled:%llu\r\nmrc_lost:%llu\r\nmrc_cpu_us:%llu\r\nmrc_memory_bytes:%zu\r\n", r.rate,
               (unsigned long long)st.sampled, (unsigned long long)st.lost, (unsigned long long)st.cpu_us, st.memory);
}
