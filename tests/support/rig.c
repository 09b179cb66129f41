/* SPDX-License-Identifier: BSD-3-Clause */
/* rig: a server for tests, in one thread. */
#include "tests/support/rig.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "src/base/check.h"
#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/base/num.h"
#include "src/cmd/cmd.h"
#include "src/conf/conf.h"
#include "src/ds/bloom.h"
#include "src/l1/item.h"
#include "src/l1/l1.h"
#include "src/rt/loop.h"
#include "src/server/boot.h"
#include "src/server/park.h"
#include "src/server/server.h"
#include "src/server/session.h"
#include "src/server/worker.h"
#include "src/value/rdb.h"

enum { MAX_OPTIONS = 64, MAX_TURNS = 100000, MAX_DEPTH = 64 };

void rig_init(void) {
    signal(SIGPIPE, SIG_IGN); /* as loop_on_signals does */
    clock_init();
    registry_init();
    log_set_level(LOG_NOTHING);
}

struct rig *rig_open(const char *const *options) {
    static const char *const fixed[] = {"rig", "--port", "0", "--threads", "1", "--loglevel", "nothing", NULL};
    char *argv[MAX_OPTIONS];
    int argc = 0;
    for (int i = 0; fixed[i] != NULL; i++) {
        argv[argc++] = (char *)(uintptr_t)fixed[i];
    }
    for (; options != NULL && *options != NULL; options++) {
        CHECK(argc < MAX_OPTIONS);
        argv[argc++] = (char *)(uintptr_t)*options;
    }
    struct buf err = {0};
    struct conf_store *store = conf_load(argc, argv, NULL, &err);
    if (store == NULL) {
        fprintf(stderr, "%.*s\n", (int)err.n, err.p);
    }
    CHECK(store != NULL);
    buf_free(&err);
    struct rig *r = mem_zalloc(sizeof(*r));
    r->srv = server_open(store, "rig");
    r->w = r->srv->workers[0];
    for (int i = 0; i < RIG_CLIENTS; i++) {
        r->clients[i].fd = -1;
        rig_connect(r, i);
    }
    return r;
}

/* One turn that never sleeps. The cron would run by the real clock. */
static void turn_once(struct rig *r) {
    timer_stop(r->w->cron);
    uv_run(loop_uv(r->w->loop), UV_RUN_NOWAIT);
}

void rig_connect(struct rig *r, int client) {
    struct rig_client *c = &r->clients[client];
    int fds[2];
    rig_disconnect(r, client);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
    c->fd = fds[0];
    session_open(r->w, fds[1], true);
}

void rig_disconnect(struct rig *r, int client) {
    struct rig_client *c = &r->clients[client];
    if (c->fd >= 0) {
        close(c->fd);
    }
    c->fd = -1;
    c->pending = 0;
    c->resp3 = false;
    buf_free(&c->in);
    turn_once(r);
}

/* ---- bytes ---- */

/* True when something arrived, the end included. */
static bool receive(struct rig_client *c) {
    bool any = false;
    while (c->fd >= 0) {
        char *p = buf_reserve(&c->in, 64 << 10);
        ssize_t n = recv(c->fd, p, 64 << 10, 0);
        if (n > 0) {
            c->in.n += (size_t)n;
            any = true;
        } else if (n < 0 && errno == EAGAIN) {
            break;
        } else {
            close(c->fd);
            c->fd = -1;
            c->pending = 0;
            return true;
        }
    }
    return any;
}

static bool receive_all(struct rig *r) {
    bool any = false;
    for (int i = 0; i < RIG_CLIENTS; i++) {
        any |= receive(&r->clients[i]);
    }
    return any;
}

void rig_send(struct rig *r, int client, struct slice bytes, int replies) {
    struct rig_client *c = &r->clients[client];
    c->pending += replies;
    for (int turns = 0; bytes.n > 0 && c->fd >= 0; turns++) {
        ssize_t n = send(c->fd, bytes.p, bytes.n, MSG_NOSIGNAL);
        if (n > 0) {
            bytes = slice_make(bytes.p + n, bytes.n - (size_t)n);
            turns = 0;
            continue;
        }
        CHECK(turns < MAX_TURNS);
        if (errno != EAGAIN) {
            receive(c); /* what it said before it closed */
            return;
        }
        turn_once(r);
        receive_all(r);
    }
}

void rig_put_command(struct buf *b, const struct slice *argv, int argc) {
    buf_printf(b, "*%d\r\n", argc);
    for (int i = 0; i < argc; i++) {
        buf_printf(b, "$%zu\r\n", argv[i].n);
        buf_put_slice(b, argv[i]);
        buf_puts(b, "\r\n");
    }
}

/* ---- replies ---- */

static bool is_number(struct slice line, int64_t *v) {
    return num_parse_i64(line, v);
}

/* The line at *p, without its end; false when it is incomplete. */
static bool take_line(const char **p, const char *end, struct slice *line) {
    const char *nl = memchr(*p, '\r', (size_t)(end - *p));
    if (nl == NULL || nl + 1 >= end) {
        return false;
    }
    *line = slice_make(*p, (size_t)(nl - *p));
    *p = nl + 2;
    return nl[1] == '\n';
}

/* 1 whole, 0 incomplete, -1 malformed; *p moves behind it. */
static int skip_reply(const char **p, const char *end, bool resp3, int depth) {
    struct slice line;
    int64_t n;
    if (*p == end) {
        return 0;
    }
    char kind = **p;
    if (strchr(resp3 ? "+-:$*_,#!=(%~|>" : "+-:$*", kind) == NULL || depth > MAX_DEPTH) {
        return -1;
    }
    *p += 1;
    if (!take_line(p, end, &line)) {
        return memchr(*p, '\r', (size_t)(end - *p)) != NULL && end - *p > 1 && (*p)[0] == '\n' ? -1 : 0;
    }
    switch (kind) {
    case '+': case '-': case ',': case '(':
        return 1;
    case '_':
        return line.n == 0 ? 1 : -1;
    case '#':
        return line.n == 1 && (line.p[0] == 't' || line.p[0] == 'f') ? 1 : -1;
    case ':':
        return is_number(line, &n) ? 1 : -1;
    default:
        break;
    }
    if (!is_number(line, &n) || n < -1 || (n == -1 && kind != '$' && kind != '*')) {
        return -1;
    }
    if (kind == '$' || kind == '!' || kind == '=') {
        if (n < 0) {
            return 1;
        }
        if (end - *p < n + 2) {
            return 0;
        }
        *p += n + 2;
        return memcmp(*p - 2, "\r\n", 2) == 0 ? 1 : -1;
    }
    n = kind == '%' || kind == '|' ? 2 * n : n;
    int ok = 1;
    for (; ok == 1 && n > 0; n--) {
        ok = skip_reply(p, end, resp3, depth + 1);
    }
    return ok == 1 && kind == '|' ? skip_reply(p, end, resp3, depth) : ok; /* an attribute precedes a reply */
}

ssize_t rig_reply_length(struct slice s, bool resp3) {
    const char *p = s.p;
    int ok = skip_reply(&p, s.p + s.n, resp3, 0);
    return ok == 1 ? p - s.p : ok;
}

/* How many whole replies; *used their bytes. */
static int count_replies(const struct rig_client *c, size_t *used) {
    int count = 0;
    *used = 0;
    while (*used < c->in.n) {
        ssize_t n = rig_reply_length(slice_make(c->in.p + *used, c->in.n - *used), c->resp3);
        if (n < 0) {
            fprintf(stderr, "malformed reply: %.*s\n", (int)(c->in.n - *used), c->in.p + *used);
        }
        CHECK(n >= 0);
        if (n == 0) {
            break;
        }
        *used += (size_t)n;
        count++;
    }
    return count;
}

static bool all_answered(struct rig *r) {
    size_t used;
    for (int i = 0; i < RIG_CLIENTS; i++) {
        struct rig_client *c = &r->clients[i];
        if (c->fd >= 0 && c->pending > 0 && count_replies(c, &used) < c->pending) {
            return false;
        }
    }
    return true;
}

/* CLIENT PAUSE would end by the real clock. */
static void end_pause(struct rig *r) {
    if (atomic_load(&r->srv->pause_until_ms) != 0) {
        atomic_store(&r->srv->pause_until_ms, 0);
        park_wake_paused(r->w);
    }
}

void rig_settle(struct rig *r) {
    for (int turns = 0, quiet = 0; quiet < 3; turns++) {
        turn_once(r);
        bool any = receive_all(r);
        quiet = any || !list_empty(&r->w->yielded) || !list_empty(&r->w->ready) ? 0 : quiet + 1;
        if (quiet == 3 && !all_answered(r)) {
            end_pause(r);
            quiet = 0;
            CHECK(turns < MAX_TURNS); /* a reply is missing */
        }
    }
    for (int i = 0; i < RIG_CLIENTS; i++) {
        struct rig_client *c = &r->clients[i];
        size_t used;
        int count = count_replies(c, &used);
        if (c->fd >= 0) {
            if (count != c->pending || used != c->in.n) {
                fprintf(stderr, "client %d: %d replies for %d commands: %.*s\n", i, count, c->pending, (int)c->in.n, c->in.p);
            }
            CHECK(count == c->pending && used == c->in.n);
        }
        c->pending = 0;
    }
}

void rig_forget(struct rig *r) {
    for (int i = 0; i < RIG_CLIENTS; i++) {
        buf_clear(&r->clients[i].in);
    }
}

struct slice rig_call(struct rig *r, int client, const struct slice *argv, int argc) {
    struct buf b = {0};
    rig_forget(r);
    rig_put_command(&b, argv, argc);
    r->clients[client].resp3 |= slice_eqi(argv[0], "hello");
    rig_send(r, client, buf_slice(&b), 1);
    buf_free(&b);
    rig_settle(r);
    return buf_slice(&r->clients[client].in);
}

/* ---- time ---- */

static void tick_until_done(struct rig *r) {
    for (int i = 0; l1_tick(r->srv->host.l1, clock_now_ms(), 1000000); i++) {
        CHECK(i < MAX_TURNS);
    }
}

void rig_advance(struct rig *r, int64_t ms) {
    clock_advance_ms(ms);
    turn_once(r);
    server_cron(r->srv);
    tick_until_done(r);
}

/* ---- what must hold ---- */

struct census {
    uint64_t keys, expires, heap;
    int db;
};

static void count_item(void *ctx, const struct key *key, const struct item_view *v) {
    struct census *n = ctx;
    CHECK(key->db == n->db);
    n->keys++;
    n->expires += v->expire_ms != L1_NO_TTL;
    n->heap += key->name.n > ITEM_KEY_INLINE_MAX ? key->name.n : 0;
    if (v->type == TYPE_STRING) {
        CHECK(v->value == NULL && (v->blob == NULL || v->blob->n == v->str.n));
        n->heap += v->blob != NULL ? v->blob->size : 0;
        return;
    }
    struct hash_iter it;
    struct hash_scratch scratch;
    struct slice field, value, got;
    size_t fields = 0;
    CHECK(v->value->type == (uint8_t)v->type && value_len(v->value) > 0);
    n->heap += value_bytes(v->value);
    if (v->type == TYPE_BLOOM) {
        CHECK(bloom_items(v->value->u.bloom) <= bloom_capacity(v->value->u.bloom));
        return;
    }
    CHECK(v->type == TYPE_HASH);
    hash_iter_init(&it, v->value);
    while (hash_iter_next(&it, &field, &value)) {
        if (fields++ < 64) { /* looked up in the compact encoding, each costs a walk */
            CHECK(hash_get(v->value, field, &scratch, &got) && slice_eq(got, value));
        }
    }
    CHECK(fields == value_len(v->value));
}

void rig_check(struct rig *r) {
    struct l1 *l1 = r->srv->host.l1;
    struct l1_stats stats;
    uint64_t heap = 0;
    tick_until_done(r);
    for (int i = 0; i < L1_MAX_DBS; i++) {
        struct census n = {.db = l1->db_map[i]};
        if (l1_db_keys(l1, (uint8_t)n.db) == 0) {
            continue; /* and the walk of the others would meet a stray item */
        }
        uint64_t cursor = 0;
        do {
            cursor = l1_scan(l1, cursor, 100, n.db, INT64_MIN / 2, false, count_item, &n); /* long before any deadline */
        } while (cursor != 0);
        CHECK(n.keys == l1_db_keys(l1, (uint8_t)n.db));
        CHECK(n.expires == l1_db_expires(l1, (uint8_t)n.db));
        heap += n.heap;
    }
    l1_stats_read(l1, &stats);
    CHECK(stats.heap_bytes == heap);
}

static uint64_t mixed(uint64_t a, uint64_t b) {
    a = (a ^ b) * 0x9e3779b97f4a7c15ULL;
    return a ^ a >> 29;
}

static void digest_item(void *ctx, const struct key *key, const struct item_view *v) {
    uint64_t *sum = ctx, content = 0;
    if (v->type == TYPE_STRING) {
        content = hash_bytes(v->str.p, v->str.n);
    } else if (v->type == TYPE_BLOOM) {
        struct buf body = {0};
        rdb_put_body(&body, v->str, v->value, false);
        content = hash_bytes(body.p, body.n);
        buf_free(&body);
    } else {
        struct hash_iter it;
        struct slice field, value;
        hash_iter_init(&it, v->value);
        while (hash_iter_next(&it, &field, &value)) {
            content += mixed(hash_bytes(field.p, field.n), hash_bytes(value.p, value.n)); /* in any order */
        }
    }
    *sum += mixed(mixed(mixed(hash_key(key->name, key->db), (uint64_t)v->type), (uint64_t)v->expire_ms), content);
}

uint64_t rig_digest(struct rig *r) {
    uint64_t sum = 0, cursor = 0;
    do {
        cursor = l1_scan(r->srv->host.l1, cursor, 1000, -1, INT64_MIN / 2, false, digest_item, &sum);
    } while (cursor != 0);
    return sum;
}

void rig_check_flushed(struct rig *r) {
    struct l1 *l1 = r->srv->host.l1;
    struct l1_stats stats;
    atomic_store(&l1->active_expire, true);
    l1_lock_all(l1);
    CHECK(l1_flush_all(l1));
    l1_unlock_all(l1);
    tick_until_done(r);
    l1_stats_read(l1, &stats);
    for (unsigned db = 0; db < L1_PHYSICAL_DBS; db++) {
        CHECK(l1_db_keys(l1, (uint8_t)db) == 0 && l1_db_expires(l1, (uint8_t)db) == 0);
    }
    CHECK(stats.heap_bytes == 0);
    CHECK(stats.flights == 0);
}

/* ---- the end ---- */

void rig_close(struct rig **rp) {
    struct rig *r = *rp;
    *rp = NULL;
    for (int i = 0; i < RIG_CLIENTS; i++) {
        rig_disconnect(r, i);
    }
    for (int i = 0; r->w->session_count > 0; i++) {
        CHECK(i < MAX_TURNS);
        turn_once(r);
    }
    turn_once(r);
    server_close(&r->srv);
    mem_free(r);
}
