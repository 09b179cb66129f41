/* SPDX-License-Identifier: BSD-3-Clause */
/* fake_store: a hash table under one mutex. */
#include "tests/unit/persist/fake_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/check.h"
#include "src/base/mem.h"

static struct fake_store *fake_of(struct store *s) {
    return s->ctx;
}

/* ---- gates; mutex held ---- */

static void pass(struct fake_store *f, enum fake_gate gate) {
    if (f->gate[gate] == FAKE_OPEN || f->held[gate]) {
        return;
    }
    if (f->gate[gate] == FAKE_STOPS_NEXT) {
        f->gate[gate] = FAKE_OPEN;
    }
    f->held[gate] = true;
    f->let[gate] = false;
    pthread_cond_broadcast(&f->moved);
    while (!f->let[gate]) {
        pthread_cond_wait(&f->moved, &f->mutex);
    }
    f->held[gate] = false;
    pthread_cond_broadcast(&f->moved);
}

static void set_gate(struct fake_store *f, enum fake_gate gate, int to) {
    pthread_mutex_lock(&f->mutex);
    f->gate[gate] = to;
    pthread_mutex_unlock(&f->mutex);
}

void fake_stop_next(struct fake_store *f, enum fake_gate gate) {
    set_gate(f, gate, FAKE_STOPS_NEXT);
}

void fake_stop_all(struct fake_store *f, enum fake_gate gate) {
    set_gate(f, gate, FAKE_STOPS_ALL);
}

void fake_stop_none(struct fake_store *f, enum fake_gate gate) {
    set_gate(f, gate, FAKE_OPEN);
}

void fake_await(struct fake_store *f, enum fake_gate gate) {
    pthread_mutex_lock(&f->mutex);
    while (!f->held[gate]) {
        pthread_cond_wait(&f->moved, &f->mutex);
    }
    pthread_mutex_unlock(&f->mutex);
}

bool fake_is_held(struct fake_store *f, enum fake_gate gate) {
    pthread_mutex_lock(&f->mutex);
    bool held = f->held[gate];
    pthread_mutex_unlock(&f->mutex);
    return held;
}

void fake_let(struct fake_store *f, enum fake_gate gate) {
    pthread_mutex_lock(&f->mutex);
    CHECK(f->held[gate]);
    f->let[gate] = true;
    pthread_cond_broadcast(&f->moved);
    while (f->held[gate] && f->let[gate]) { /* until it has gone, so that it is not seen there again */
        pthread_cond_wait(&f->moved, &f->mutex);
    }
    pthread_mutex_unlock(&f->mutex);
}

void fake_await_count(struct fake_store *f, _Atomic int *counter, int n) {
    pthread_mutex_lock(&f->mutex);
    while (atomic_load(counter) < n) {
        pthread_cond_wait(&f->moved, &f->mutex);
    }
    pthread_mutex_unlock(&f->mutex);
}

/* Mutex held. */
static void count(struct fake_store *f, _Atomic int *counter) {
    atomic_fetch_add(counter, 1);
    pthread_cond_broadcast(&f->moved);
}

void fake_open_gates(struct fake_store *f) {
    pthread_mutex_lock(&f->mutex);
    for (int i = 0; i < FAKE_GATES; i++) {
        f->gate[i] = FAKE_OPEN;
        f->let[i] = true;
    }
    pthread_cond_broadcast(&f->moved);
    pthread_mutex_unlock(&f->mutex);
}

/* Whether this call is one of those that are to fail. */
static bool fails(_Atomic int *left) {
    int n = atomic_load(left);
    while (n > 0 && !atomic_compare_exchange_weak(left, &n, n - 1)) {
    }
    return n > 0;
}

/* ---- content; mutex held ---- */

static struct fake_record **slot_of(struct fake_table *t, struct slice key) {
    uint32_t hash = 2166136261; /* FNV-1a: the process's own changes its seed with every tier opened */
    for (size_t i = 0; i < key.n; i++) {
        hash = (hash ^ (unsigned char)key.p[i]) * 16777619;
    }
    struct fake_record **at = &t->at[hash % FAKE_BUCKETS];
    while (*at != NULL && !slice_eq(buf_slice(&(*at)->key), key)) {
        at = &(*at)->next;
    }
    return at;
}

static void erase(struct fake_table *t, struct fake_record **at) {
    struct fake_record *gone = *at;
    if (gone != NULL) {
        *at = gone->next;
        buf_free(&gone->key);
        buf_free(&gone->value);
        mem_free(gone);
        t->records--;
    }
}

static void put(struct fake_table *t, struct slice key, struct slice value) {
    struct fake_record **at = slot_of(t, key);
    if (*at == NULL) {
        *at = mem_zalloc(sizeof(**at));
        buf_put_slice(&(*at)->key, key);
        t->records++;
    }
    buf_clear(&(*at)->value);
    buf_put_slice(&(*at)->value, value);
}

static void clear(struct fake_table *t) {
    for (int i = 0; i < FAKE_BUCKETS; i++) {
        while (t->at[i] != NULL) {
            erase(t, &t->at[i]);
        }
    }
}

static void copy(struct fake_table *to, struct fake_table *from) {
    for (int i = 0; i < FAKE_BUCKETS; i++) {
        for (const struct fake_record *r = from->at[i]; r != NULL; r = r->next) {
            put(to, buf_slice(&r->key), buf_slice(&r->value));
        }
    }
}

static void apply(struct fake_table *t, const struct store_write *w) {
    if (w->value.p != NULL) {
        put(t, w->key, w->value);
    } else {
        erase(t, slot_of(t, w->key));
    }
}

/* ---- the store ---- */

/* The value is a copy: what was read stays what it was. */
static enum store_result fake_get(struct store *s, struct slice key, enum store_reach reach, struct store_value *out) {
    bool memory_only = reach != STORE_DEVICE;
    struct fake_store *f = fake_of(s);
    enum store_result result = STORE_ABSENT;
    pthread_mutex_lock(&f->mutex);
    atomic_fetch_add(&f->gets, 1);
    if (!memory_only) {
        pass(f, FAKE_GET);
    }
    const struct fake_record *r = *slot_of(&f->now, key);
    if (memory_only && f->cold) {
        result = STORE_COLD;
    } else if (!memory_only && fails(&f->fail_gets)) {
        result = STORE_FAILED;
    } else if (r != NULL) {
        struct buf *copy = mem_zalloc(sizeof(*copy));
        buf_put_slice(copy, buf_slice(&r->value));
        *out = (struct store_value){.bytes = buf_slice(copy), .pin = copy};
        atomic_fetch_add(&f->pins, 1);
        result = STORE_FOUND;
    }
    if (!memory_only) {
        pass(f, FAKE_GOT);
    }
    pthread_mutex_unlock(&f->mutex);
    return result;
}

static void fake_release(struct store *s, struct store_value *v) {
    struct buf *copy = v->pin;
    buf_free(copy);
    mem_free(copy);
    v->pin = NULL;
    atomic_fetch_sub(&fake_of(s)->pins, 1);
}

static bool fake_may_have(struct store *s, struct slice key) {
    struct fake_store *f = fake_of(s);
    pthread_mutex_lock(&f->mutex);
    bool has = f->vague || *slot_of(&f->now, key) != NULL;
    pthread_mutex_unlock(&f->mutex);
    return has;
}

static bool fake_write(struct store *s, const struct store_write *writes, size_t n, bool sync, char *err, size_t errcap) {
    struct fake_store *f = fake_of(s);
    pthread_mutex_lock(&f->mutex);
    pass(f, FAKE_WRITE);
    bool ok = !fails(&f->fail_writes);
    for (int logged = 0; ok && logged < 2; logged++) {
        for (size_t i = 0; i < n; i++) {
            if (writes[i].unlogged == !logged) {
                apply(&f->now, &writes[i]);
            }
            if (logged && !writes[i].unlogged) {
                apply(&f->logged, &writes[i]);
            }
        }
    }
    count(f, &f->writes);
    atomic_fetch_add(&f->synced_writes, sync);
    pass(f, FAKE_WRITTEN);
    pthread_mutex_unlock(&f->mutex);
    if (!ok) {
        snprintf(err, errcap, "write failed on demand");
    }
    return ok;
}

static bool fake_sync_log(struct store *s, char *err, size_t errcap) {
    struct fake_store *f = fake_of(s);
    bool ok = !fails(&f->fail_syncs);
    if (!ok) {
        snprintf(err, errcap, "sync failed on demand");
    }
    pthread_mutex_lock(&f->mutex);
    count(f, &f->syncs);
    pthread_mutex_unlock(&f->mutex);
    return ok;
}

static int by_key(const void *a, const void *b) {
    struct slice x = buf_slice(&(*(struct fake_record *const *)a)->key), y = buf_slice(&(*(struct fake_record *const *)b)->key);
    int order = memcmp(x.p, y.p, x.n < y.n ? x.n : y.n);
    return order != 0 ? order : x.n < y.n ? -1 : x.n > y.n;
}

static bool fake_each(struct store *s, struct slice from, bool (*fn)(void *ctx, struct slice key, struct slice value), void *ctx) {
    struct fake_store *f = fake_of(s);
    pthread_mutex_lock(&f->mutex);
    struct fake_record **all = mem_alloc(f->now.records * sizeof(struct fake_record *));
    size_t n = 0;
    for (int i = 0; i < FAKE_BUCKETS; i++) {
        for (struct fake_record *r = f->now.at[i]; r != NULL; r = r->next) {
            all[n++] = r;
        }
    }
    qsort(all, n, sizeof(struct fake_record *), by_key);
    bool more = true;
    for (size_t i = 0; i < n && more; i++) {
        struct slice key = buf_slice(&all[i]->key);
        int order = memcmp(key.p, from.p, key.n < from.n ? key.n : from.n);
        if (order > 0 || (order == 0 && key.n >= from.n)) {
            more = fn(ctx, key, buf_slice(&all[i]->value));
        }
    }
    mem_free(all);
    pthread_mutex_unlock(&f->mutex);
    return true;
}

/* A mark is a copy. */
static void *fake_mark(struct store *s) {
    struct fake_store *f = mem_zalloc(sizeof(*f));
    fake_copy(f, fake_of(s));
    return f;
}

static void fake_unmark(struct store *s, void *mark) {
    (void)s;
    fake_fini(mark);
    mem_free(mark);
}

static bool fake_each_at(struct store *s, void *mark, bool (*fn)(void *ctx, struct slice key, struct slice value), void *ctx) {
    struct fake_store *f = mark;
    (void)s;
    return fake_each(&f->store, slice_make("", 0), fn, ctx);
}

static uint64_t fake_maintain(struct store *s, int64_t max_bytes) {
    struct fake_store *f = fake_of(s);
    (void)max_bytes;
    pthread_mutex_lock(&f->mutex);
    count(f, &f->maintained);
    pthread_mutex_unlock(&f->mutex);
    return 0;
}

static bool is_in(const struct fake_record *r, const struct store_range *range) {
    struct slice key = buf_slice(&r->key);
    return memcmp(key.p, range->from.p, range->from.n) >= 0 && memcmp(key.p, range->to.p, range->to.n) < 0;
}

static void fake_sizes(struct store *s, const struct store_range *ranges, size_t n, uint64_t *bytes) {
    struct fake_store *f = fake_of(s);
    pthread_mutex_lock(&f->mutex);
    memset(bytes, 0, n * sizeof(*bytes));
    for (int i = 0; i < FAKE_BUCKETS; i++) {
        for (const struct fake_record *r = f->now.at[i]; r != NULL; r = r->next) {
            for (size_t k = 0; k < n; k++) {
                bytes[k] += is_in(r, &ranges[k]) ? r->key.n + r->value.n : 0;
            }
        }
    }
    count(f, &f->sized);
    pthread_mutex_unlock(&f->mutex);
}

/* What lies in the ranges goes, and nothing else. */
static void fake_reclaim(struct store *s, bool on, const struct store_range *dead, size_t n) {
    struct fake_store *f = fake_of(s);
    pthread_mutex_lock(&f->mutex);
    for (int i = 0; i < FAKE_BUCKETS; i++) {
        for (struct fake_record **at = &f->now.at[i]; *at != NULL;) {
            size_t k = 0;
            while (k < n && !is_in(*at, &dead[k])) {
                k++;
            }
            if (k < n) {
                erase(&f->now, at);
            } else {
                at = &(*at)->next;
            }
        }
    }
    if (on) {
        count(f, &f->reclaims);
    }
    pthread_mutex_unlock(&f->mutex);
}

static void fake_stats(struct store *s, struct store_stats *out) {
    struct fake_store *f = fake_of(s);
    *out = (struct store_stats){.disk_bytes = f->disk_bytes, .windows = 1};
}

static bool fake_reset(struct store *s, char *err, size_t errcap) {
    struct fake_store *f = fake_of(s);
    pthread_mutex_lock(&f->mutex);
    pass(f, FAKE_RESET);
    bool ok = !fails(&f->fail_resets);
    if (ok) {
        CHECK(f->pins == 0 && !f->held[FAKE_GET] && !f->held[FAKE_GOT]); /* no other call is under way */
        clear(&f->now);
        clear(&f->logged);
    } else {
        snprintf(err, errcap, "reset failed on demand");
    }
    count(f, &f->resets);
    pthread_mutex_unlock(&f->mutex);
    return ok;
}

static void *fake_survey_begin(struct store *s) {
    struct fake_store *f = fake_of(s);
    if (atomic_load(&f->survey_steps) == 0) {
        return NULL;
    }
    pthread_mutex_lock(&f->mutex);
    CHECK(f->surveys_begun == f->surveys_ended); /* one at a time */
    count(f, &f->surveys_begun);
    pthread_mutex_unlock(&f->mutex);
    return f;
}

static bool fake_survey_step(struct store *s, void *survey, size_t n) {
    struct fake_store *f = fake_of(s);
    CHECK(survey == f && n > 0);
    pthread_mutex_lock(&f->mutex);
    CHECK(f->surveys_begun == f->surveys_ended + 1 && !f->held[FAKE_RESET]);
    count(f, &f->steps);
    int left = atomic_load(&f->survey_steps);
    atomic_store(&f->survey_steps, left > 0 ? left - 1 : left);
    pthread_mutex_unlock(&f->mutex);
    return left != 1;
}

static bool fake_survey_end(struct store *s, void *survey) {
    struct fake_store *f = fake_of(s);
    CHECK(survey == f);
    pthread_mutex_lock(&f->mutex);
    bool learnt = atomic_load(&f->survey_steps) == 0;
    count(f, &f->surveys_ended);
    pthread_mutex_unlock(&f->mutex);
    return learnt;
}

static void fake_close(struct store *s) {
    atomic_fetch_add(&fake_of(s)->closed, 1);
}

/* ---- the test's side ---- */

void fake_init(struct fake_store *f) {
    *f = (struct fake_store){.store = {.ctx = f,
                                       .get = fake_get,
                                       .release = fake_release,
                                       .may_have = fake_may_have,
                                       .write = fake_write,
                                       .sync_log = fake_sync_log,
                                       .each = fake_each,
                                       .mark = fake_mark,
                                       .unmark = fake_unmark,
                                       .each_at = fake_each_at,
                                       .maintain = fake_maintain,
                                       .sizes = fake_sizes,
                                       .reclaim = fake_reclaim,
                                       .survey_begin = fake_survey_begin,
                                       .survey_step = fake_survey_step,
                                       .survey_end = fake_survey_end,
                                       .stats = fake_stats,
                                       .reset = fake_reset,
                                       .close = fake_close}};
    pthread_mutex_init(&f->mutex, NULL);
    pthread_cond_init(&f->moved, NULL);
}

void fake_fini(struct fake_store *f) {
    CHECK(f->pins == 0);
    clear(&f->now);
    clear(&f->logged);
    pthread_cond_destroy(&f->moved);
    pthread_mutex_destroy(&f->mutex);
}

void fake_copy(struct fake_store *f, struct fake_store *from) {
    fake_init(f);
    pthread_mutex_lock(&from->mutex);
    copy(&f->now, &from->now);
    copy(&f->logged, &from->logged);
    pthread_mutex_unlock(&from->mutex);
}

static bool read_in(struct fake_store *f, struct fake_table *t, struct slice key, struct buf *out) {
    pthread_mutex_lock(&f->mutex);
    const struct fake_record *r = *slot_of(t, key);
    if (r != NULL) {
        buf_put_slice(out, buf_slice(&r->value));
    }
    pthread_mutex_unlock(&f->mutex);
    return r != NULL;
}

bool fake_read(struct fake_store *f, struct slice key, struct buf *out) {
    return read_in(f, &f->now, key, out);
}

bool fake_read_logged(struct fake_store *f, struct slice key, struct buf *out) {
    return read_in(f, &f->logged, key, out);
}

void fake_flush(struct fake_store *f) {
    pthread_mutex_lock(&f->mutex);
    clear(&f->logged);
    copy(&f->logged, &f->now);
    pthread_mutex_unlock(&f->mutex);
}

void fake_put(struct fake_store *f, struct slice key, struct slice value) {
    pthread_mutex_lock(&f->mutex);
    put(&f->now, key, value);
    put(&f->logged, key, value);
    pthread_mutex_unlock(&f->mutex);
}

size_t fake_records(struct fake_store *f) {
    pthread_mutex_lock(&f->mutex);
    size_t n = f->now.records;
    pthread_mutex_unlock(&f->mutex);
    return n;
}
