/* SPDX-License-Identifier: BSD-3-Clause */
/* import: its life, and the way of one key into the cache. */
#include "src/server/import.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "src/base/check.h"
#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/cmd/call.h"
#include "src/conf/conf.h"
#include "src/guard/rule.h"
#include "src/origin/redis_url.h"
#include "src/rt/loop.h"
#include "src/server/import_int.h"
#include "src/server/server.h"
#include "src/server/worker.h"

enum { TICK_MS = 2, VICTIMS = 16, DRAW_US = 200000, BAR_WIDTH = 30 };

static const char *state_name(int s) {
    static const char *const names[] = {
#define X(name, text) text,
        IMPORT_STATES(X)
#undef X
    };
    return names[s];
}

/* ---- one key ---- */

/* A key for which the tiers below are asked: what is there wins. */
struct asking {
    struct fill fill;
    struct import *m;
    struct key key;
    bool wanted;
    struct import_key k; /* name and str in bytes */
    char bytes[];
};

static void set_error(struct import *m, const char *why, uint64_t at) {
    atomic_store_explicit(&m->error, why, memory_order_relaxed);
    import_set(&m->error_at, at);
}

static void stop(struct import *m, enum import_state end, const char *why, uint64_t at) {
    if (m->end == IMPORT_RUNNING) {
        m->end = end;
        if (why != NULL) {
            set_error(m, why, at);
        }
    }
}

/* What a client's write does. Shard locked; takes the value. */
static void store(struct import *m, const struct key *key, const struct import_key *k, int64_t now_ms) {
    struct server *srv = m->srv;
    struct l1 *l1 = srv->host.l1;
    struct worker *w = srv->workers[0];
    const struct rule *rule = rules_match(w->rules, key->name);
    int64_t expire_ms = rule != NULL ? guard_deadline(rule, w->id, k->expire_ms, now_ms) : k->expire_ms;
    int acks = 0;
    if (l1_over_limit(l1) && l1_deny_writes(l1)) {
        value_unref(k->value);
        import_add(&m->failed, 1);
        stop(m, IMPORT_STOPPED, "memory is full", 0);
        return;
    }
    enum err e = k->value != NULL ? l1_set_value(l1, key, k->value, expire_ms, now_ms) : l1_set(l1, key, k->str, expire_ms, 0, now_ms);
    if (e != OK) {
        value_unref(k->value);
        import_add(&m->failed, 1);
        stop(m, IMPORT_STOPPED, "out of memory", 0);
        return;
    }
    if (atomic_load_explicit(&srv->tier.guard->active, memory_order_relaxed)) {
        guard_changed(srv->tier.guard, rule, key, SINK_SET, w->id, now_ms);
    }
    tier_commit(&srv->tier, SINK_SET, key, now_ms, NULL, &acks);
    atomic_fetch_add_explicit(&srv->host.dirty, 1, memory_order_relaxed);
    import_add(&m->imported, 1);
}

static bool is_here(struct l1 *l1, const struct key *key, int64_t now_ms) {
    struct item_view item;
    return l1_get(l1, key, now_ms, L1_NOTOUCH, &item);
}

static void leave_existing(struct import *m, const struct import_key *k) {
    value_unref(k->value);
    import_add(&m->existing, 1);
}

static void make_room(struct l1 *l1, unsigned shard, int64_t now_ms) {
    if (l1_needs_room(l1)) {
        l1_make_room(l1, shard, VICTIMS, now_ms);
    }
}

static void answered(struct fill *f) {
    struct asking *a = (struct asking *)f;
    struct import *m = a->m;
    struct l1 *l1 = m->srv->host.l1;
    int64_t now_ms = loop_now_ms(m->loop);
    unsigned shard = l1_shard_of(l1, a->key.hash);
    l1_lock(l1, shard);
    bool again = fill_begin(f, now_ms); /* it was found, and has left memory since */
    if (again) {
        l1_unlock(l1, shard);
        fill_launch(f, now_ms);
        return;
    }
    if (is_here(l1, &a->key, now_ms)) {
        leave_existing(m, &a->k);
    } else if (f->settled[0] == FILL_FAILED) {
        value_unref(a->k.value); /* there may be one */
        import_add(&m->failed, 1);
    } else {
        store(m, &a->key, &a->k, now_ms);
    }
    make_room(l1, shard, now_ms);
    l1_unlock(l1, shard);
    fill_end(f);
    mem_free(a);
    m->in_flight--;
    import_step(m);
}

/* Shard locked. NULL: nobody need be asked. */
static struct asking *ask(struct import *m, const struct key *key, const struct import_key *k, int64_t now_ms) {
    struct asking *a = mem_zalloc(sizeof(*a) + k->name.n + k->str.n);
    memcpy(a->bytes, k->name.p, k->name.n);
    if (k->str.n > 0) {
        memcpy(a->bytes + k->name.n, k->str.p, k->str.n);
    }
    a->m = m;
    a->k = *k;
    a->k.name = slice_make(a->bytes, k->name.n);
    a->k.str = slice_make(a->bytes + k->name.n, k->str.n);
    a->key = (struct key){a->k.name, key->hash, key->db};
    a->wanted = true;
    a->fill = (struct fill){.tier = &m->srv->tier, .loop = m->loop, .keys = &a->key, .wanted = &a->wanted, .n = 1, .background = true, .resume = answered};
    if (!fill_begin(&a->fill, now_ms)) {
        fill_end(&a->fill);
        mem_free(a);
        return NULL;
    }
    return a;
}

/* Hashed for the database as it is mapped now, whose shard is locked then. */
static unsigned lock_key(struct l1 *l1, const struct import_key *k, struct key *key) {
    for (;;) {
        *key = key_make(k->name, l1->db_map[k->db]);
        unsigned shard = l1_shard_of(l1, key->hash);
        l1_lock(l1, shard);
        if (likely(key->db == l1->db_map[k->db])) {
            return shard;
        }
        l1_unlock(l1, shard);
    }
}

static bool is_welcome(struct import *m, const struct import_key *k, int64_t now_ms) {
    import_add(&m->seen, 1);
    if (k->db >= (uint64_t)m->srv->workers[0]->conf->databases) {
        import_add(&m->skipped, 1);
        if (!m->told_db) {
            m->told_db = true;
            log_warning("import: keys of database %llu are left out: see `databases`", (unsigned long long)k->db);
        }
    } else if (k->expire_ms >= 0 && k->expire_ms <= now_ms) {
        import_add(&m->expired, 1);
    } else {
        return true;
    }
    return false;
}

void import_put(struct import *m, const struct import_key *k) {
    struct l1 *l1 = m->srv->host.l1;
    int64_t now_ms = loop_now_ms(m->loop);
    struct key key;
    if (!is_welcome(m, k, now_ms)) {
        value_unref(k->value);
        return;
    }
    unsigned shard = lock_key(l1, k, &key);
    if (!m->replace && fill_needs(&m->srv->tier, &key, NULL, now_ms, NULL)) {
        struct asking *a = ask(m, &key, k, now_ms);
        if (a != NULL) {
            l1_unlock(l1, shard);
            m->in_flight++;
            fill_launch(&a->fill, now_ms);
            return;
        }
    }
    if (!m->replace && is_here(l1, &key, now_ms)) {
        leave_existing(m, k);
    } else {
        store(m, &key, k, now_ms);
    }
    make_room(l1, shard, now_ms);
    l1_unlock(l1, shard);
}

void import_skip(struct import *m, const char *type, struct slice name) {
    static const char *const types[] = {"list", "set", "sorted set", "stream", "module value"};
    unsigned bit = 0;
    while (bit < sizeof(types) / sizeof(types[0]) && strcmp(types[bit], type) != 0) {
        bit++;
    }
    if (!(m->told & 1u << bit)) {
        m->told |= 1u << bit;
        log_warning("import: keys of type %s are skipped, as '%.*s'", type, (int)(name.n < 100 ? name.n : 100), name.p);
    }
    import_add(&m->seen, 1);
    import_add(&m->skipped, 1);
}

void import_gone(struct import *m) {
    import_add(&m->seen, 1);
    import_add(&m->expired, 1);
}

void import_unreadable(struct import *m, struct slice name, const char *why) {
    if (import_get(&m->failed) == 0) {
        log_warning("import: '%.*s' cannot be read: %s", (int)(name.n < 100 ? name.n : 100), name.p, why);
    }
    import_add(&m->seen, 1);
    import_add(&m->failed, 1);
}

/* ---- progress ---- */

static void draw(struct import *m, bool last) {
    int64_t now_us = clock_mono_us();
    if (!m->bar || (!last && now_us - m->drawn_us < DRAW_US)) {
        return;
    }
    m->drawn_us = now_us;
    char bar[BAR_WIDTH + 1] = "";
    uint64_t permille = import_get(&m->permille), seen = import_get(&m->seen);
    for (int i = 0; i < BAR_WIDTH; i++) {
        bar[i] = (uint64_t)i * 1000 < permille * BAR_WIDTH ? '#' : '.';
    }
    int64_t us = now_us - m->started_us;
    dprintf(STDERR_FILENO, "\rimport [%s] %3llu%%  %llu keys, %llu/s %s", bar, (unsigned long long)permille / 10,
            (unsigned long long)seen, (unsigned long long)(us > 0 ? seen * 1000000 / (uint64_t)us : 0), last ? "\n" : "");
}

void import_info(const struct import *m, struct buf *out) {
    if (m == NULL) {
        return;
    }
    int state = atomic_load_explicit(&m->state, memory_order_acquire);
    const char *error = atomic_load_explicit(&m->error, memory_order_relaxed);
    buf_printf(out,
               "import_state:%s\r\nimport_percent:%.1f\r\nimport_total:%llu\r\nimport_seen:%llu\r\nimport_imported:%llu\r\n"
               "import_existing:%llu\r\nimport_skipped:%llu\r\nimport_expired:%llu\r\nimport_failed:%llu\r\nimport_reconnects:%llu\r\n",
               state_name(state), (double)import_get(&m->permille) / 10, (unsigned long long)import_get(&m->total),
               (unsigned long long)import_get(&m->seen), (unsigned long long)import_get(&m->imported),
               (unsigned long long)import_get(&m->existing), (unsigned long long)import_get(&m->skipped),
               (unsigned long long)import_get(&m->expired), (unsigned long long)import_get(&m->failed),
               (unsigned long long)import_get(&m->reconnects));
    if (error != NULL && import_get(&m->error_at) > 0) {
        buf_printf(out, "import_error:refused at byte %llu: %s\r\n", (unsigned long long)import_get(&m->error_at), error);
    } else if (error != NULL) {
        buf_printf(out, "import_error:%s\r\n", error);
    }
}

void import_conns(const struct import *m, struct conn_numbers *n) {
    conn_numbers_add(n, &m->conns);
}

/* ---- from begin to end ---- */

bool import_may_go(struct import *m) {
    return m->end == IMPORT_RUNNING && m->in_flight < IMPORT_IN_FLIGHT && !tier_is_pressed(&m->srv->tier) &&
           pace_allows(&m->pace, clock_mono_us());
}

void import_ended(struct import *m) {
    stop(m, IMPORT_DONE, NULL, 0);
}

void import_broken(struct import *m, const char *why, uint64_t at) {
    stop(m, IMPORT_FAILED, why, at);
}

void import_closed(struct import *m) {
    m->self = NULL;
    import_step(m);
}

static void finish(struct import *m) {
    const char *error = atomic_load_explicit(&m->error, memory_order_relaxed);
    if (!m->stopping) {
        timer_stop(m->timer);
    }
    if (m->end == IMPORT_DONE) {
        import_set(&m->permille, 1000);
    }
    draw(m, true);
    log_notice("import %s after %lld ms: %llu keys seen, %llu imported, %llu here before, %llu skipped, %llu expired, %llu failed%s%s",
               state_name((int)m->end), (long long)(clock_mono_us() - m->started_us) / 1000, (unsigned long long)import_get(&m->seen),
               (unsigned long long)import_get(&m->imported), (unsigned long long)import_get(&m->existing),
               (unsigned long long)import_get(&m->skipped), (unsigned long long)import_get(&m->expired),
               (unsigned long long)import_get(&m->failed), error != NULL ? ": " : "", error != NULL ? error : "");
    mem_free(m->from);
    m->from = NULL;
    m->bar = false;
    atomic_store_explicit(&m->state, m->end, memory_order_release);
}

/* A source that is closed at once calls back into this: the outer one goes on. */
void import_step(struct import *m) {
    if (m->stepping || atomic_load_explicit(&m->state, memory_order_relaxed) != IMPORT_RUNNING) {
        return;
    }
    m->stepping = true;
    if (m->stopping || atomic_load_explicit(&m->cancel, memory_order_relaxed)) {
        stop(m, IMPORT_CANCELLED, NULL, 0);
    }
    if (m->end == IMPORT_RUNNING) {
        m->source->step(m->self);
    }
    if (m->end != IMPORT_RUNNING && !m->closing) {
        m->closing = true;
        m->source->close(m->self);
    }
    m->stepping = false;
    draw(m, false);
    if (m->closing && m->self == NULL && m->in_flight == 0) {
        finish(m);
    }
}

static void tick(void *ctx) {
    import_step(ctx);
}

struct beginning {
    char *from;
    bool replace, at_start;
    int64_t rate;
};

static bool is_url(const char *from) {
    return strncasecmp(from, "redis://", 8) == 0;
}

static void begin(struct worker *w, void *arg) {
    struct beginning *b = arg;
    struct import *m = w->server->import;
    m->from = b->from;
    m->replace = b->replace;
    m->at_start = b->at_start;
    m->bar = b->at_start && isatty(STDERR_FILENO);
    m->source = is_url(m->from) ? &import_redis : &import_file;
    m->end = m->stopping ? IMPORT_CANCELLED : IMPORT_RUNNING;
    m->closing = m->stopping;
    m->told = 0;
    m->told_db = false;
    m->started_us = clock_mono_us();
    m->drawn_us = 0;
    pace_start(&m->pace, b->rate, m->started_us);
    mem_free(b);
    if (!m->stopping) {
        m->self = m->source->open(m);
        timer_start(m->timer, 0, TICK_MS);
    }
    import_step(m);
}

static bool claim(struct import *m) {
    int state = atomic_load(&m->state);
    if (state == IMPORT_RUNNING || !atomic_compare_exchange_strong(&m->state, &state, IMPORT_RUNNING)) {
        return false;
    }
    import_count *const zero[] = {&m->seen,    &m->imported, &m->existing, &m->skipped,    &m->expired,
                                  &m->failed,  &m->total,    &m->permille, &m->reconnects, &m->error_at};
    for (size_t i = 0; i < sizeof(zero) / sizeof(zero[0]); i++) {
        import_set(zero[i], 0);
    }
    atomic_store_explicit(&m->error, NULL, memory_order_relaxed);
    atomic_store_explicit(&m->cancel, false, memory_order_relaxed);
    return true;
}

static void post(struct import *m, struct slice from, bool at_start, const struct import_order *order) {
    struct beginning *b = mem_zalloc(sizeof(*b));
    b->from = mem_zalloc(from.n + 1);
    memcpy(b->from, from.p, from.n);
    b->at_start = at_start;
    b->replace = order->replace;
    b->rate = order->rate;
    worker_post(m->srv->workers[0], begin, b);
}

/* NULL, or what is wrong with the URL. */
static const char *check_url(const char *text, size_t n) {
    struct redis_url url;
    const char *wrong = redis_url_parse(slice_make(text, n), &url);
    redis_url_free(&url);
    return wrong;
}

enum err import_command(struct call *c, const struct import_order *order) {
    struct import *m = server_of(c->host)->import;
    struct slice from = order->from;
    if (m == NULL) {
        return call_errorf(c, "ERR IMPORT needs a server that runs");
    }
    if (from.n == 0 || memchr(from.p, '\0', from.n) != NULL) {
        return call_errorf(c, "ERR IMPORT takes a path or redis://[[user]:password@]host[:port][/db]");
    }
    const char *wrong = from.n >= 8 && strncasecmp(from.p, "redis://", 8) == 0 ? check_url(from.p, from.n) : NULL;
    if (wrong != NULL) {
        return call_errorf(c, "ERR IMPORT: %s", wrong);
    }
    if (!claim(m)) {
        return call_errorf(c, "BUSY an import is under way: see IMPORT STATUS, IMPORT CANCEL");
    }
    post(m, from, false, order);
    reply_ok(c->out);
    return OK;
}

bool import_at_start(struct import *m, const char *from, struct buf *err) {
    const char *wrong = is_url(from) ? check_url(from, strlen(from)) : access(from, R_OK) != 0 ? "the file cannot be read" : NULL;
    if (wrong != NULL) {
        buf_printf(err, "--import: %s", wrong);
        return false;
    }
    CHECK(claim(m));
    post(m, slice_cstr(from), true, &(struct import_order){0});
    return true;
}

bool import_cancel(struct import *m) {
    if (m == NULL || atomic_load(&m->state) != IMPORT_RUNNING) {
        return false;
    }
    atomic_store_explicit(&m->cancel, true, memory_order_relaxed);
    return true;
}

/* ---- life ---- */

struct import *import_create(struct server *srv) {
    struct import *m = mem_zalloc(sizeof(*m));
    m->srv = srv;
    m->loop = srv->workers[0]->loop;
    m->timer = timer_create_on(m->loop, tick, m);
    return m;
}

bool import_stopping(struct import *m) {
    if (m == NULL) {
        return false;
    }
    if (!m->stopping) {
        m->stopping = true;
        timer_destroy(&m->timer);
        import_step(m);
    }
    return atomic_load(&m->state) == IMPORT_RUNNING;
}

void import_destroy(struct import **mp) {
    struct import *m = *mp;
    if (m == NULL) {
        return;
    }
    *mp = NULL;
    mem_free(m->from);
    mem_free(m);
}
