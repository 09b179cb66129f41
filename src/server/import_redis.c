/* SPDX-License-Identifier: BSD-3-Clause */
/* import_redis: the keys of a live Redis, database by database. One request at a time is on its way: PTTL and DUMP of the names that
 * the last SCAN gave, a batch of them, and behind the last batch the next SCAN.
 *
 *   INFO (whose run, which databases) -> SCAN 0 -> [PTTL, DUMP]... SCAN c -> ... -> SCAN gives 0 -> the next database
 *
 * A connection that is lost comes back with INFO: the same run goes on where it was; another one's cursors mean nothing, and the
 * database is begun again. */
#include <stdio.h>
#include <string.h>

#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/base/num.h"
#include "src/conf/conf.h"
#include "src/net/dial.h"
#include "src/origin/redis_url.h"
#include "src/origin/resp_client.h"
#include "src/rt/loop.h"
#include "src/server/import_int.h"
#include "src/server/server.h"
#include "src/server/worker.h"
#include "src/value/rdb.h"

#define SCAN_COUNT "256"
enum {
    BATCH_KEYS = 256,
    BATCH_BYTES = 4 << 20, /* about what a batch's values take, as the last one's did */
    MAX_DBS = 64,
    RUN_ID_BYTES = 40,
    PAYLOAD_SLACK_BYTES = 64 << 10, /* what DUMP adds to a value */
    CONNECT_MS = 5000,
    SILENCE_MS = 10000,
    RETRY_US = 100000,
    GIVE_UP_US = 30000000 /* after so long without an answer */
};

/* What PTTL says besides milliseconds. */
enum { TTL_NONE = -1, TTL_ABSENT = -2, TTL_UNKNOWN = -3 };

struct name {
    size_t at, n;
};

struct live {
    struct import *m;
    struct redis_url url;
    struct dialer *dialer;
    struct resp_client *client;
    int64_t client_db;
    struct hash_limits limits;
    size_t max_value;
    /* the source */
    char run_id[RUN_ID_BYTES];
    bool met;            /* INFO has been answered on the present connection, */
    uint64_t connection; /* which is this */
    bool known;          /* once at least */
    int64_t dbs[MAX_DBS];
    int db_count, db_at;
    /* the database */
    struct buf cursor;
    bool scanned; /* to its end */
    struct buf bytes;
    struct name *names;
    size_t count, next, cap;
    /* the request on its way */
    struct resp_request wire;
    bool waiting;
    int asked;         /* keys in it */
    bool scanning;     /* and a SCAN behind them */
    int64_t sent_ms;
    int64_t ttl_ms;    /* the last PTTL's */
    int done;          /* keys of it that are settled */
    bool stalled;      /* it must be asked again, from done on */
    size_t payload_bytes;
    size_t key_bytes;  /* of a value, about */
    int64_t retry_us, since_us; /* when to try again; the last good answer */
};

static void go(struct live *l, bool told);

/* ---- requests ---- */

static bool ask(struct live *l, const struct slice *argv, int argc) {
    l->wire.commands++;
    return resp_put(&l->wire.bytes, argv, argc);
}

static struct slice name_at(const struct live *l, size_t i) {
    return slice_make(l->bytes.p + l->names[i].at, l->names[i].n);
}

static bool ask_keys(struct live *l) {
    size_t most = BATCH_BYTES / (l->key_bytes + 1);
    most = most < 1 ? 1 : most > BATCH_KEYS ? BATCH_KEYS : most;
    size_t left = l->count - l->next;
    l->asked = (int)(left < most ? left : most);
    bool ok = true;
    for (int i = 0; ok && i < l->asked; i++) {
        struct slice name = name_at(l, l->next + (size_t)i);
        struct slice pttl[2] = {SLICE("PTTL"), name}, dump[2] = {SLICE("DUMP"), name};
        ok = ask(l, pttl, 2) && ask(l, dump, 2);
    }
    l->scanning = (size_t)l->asked == left && !l->scanned;
    if (ok && l->scanning) {
        struct slice scan[4] = {SLICE("SCAN"), buf_slice(&l->cursor), SLICE("COUNT"), SLICE(SCAN_COUNT)};
        ok = ask(l, scan, 4);
    }
    return ok;
}

static bool ask_info(struct live *l) {
    struct slice server[2] = {SLICE("INFO"), SLICE("server")}, keyspace[2] = {SLICE("INFO"), SLICE("keyspace")};
    return ask(l, server, 2) && ask(l, keyspace, 2);
}

/* Later, perhaps; not for ever. */
static void try_again(struct live *l, const char *why) {
    int64_t now_us = clock_mono_us();
    l->retry_us = now_us + RETRY_US;
    if (!l->known || now_us - l->since_us > GIVE_UP_US) {
        import_broken(l->m, why, 0);
    }
}

static void lose(struct live *l, const char *why) {
    if (l->met) {
        import_add(&l->m->reconnects, 1);
    }
    l->met = false;
    try_again(l, why);
}

static void send_request(struct live *l) {
    l->wire.commands = l->asked = l->done = 0;
    l->scanning = l->stalled = false;
    l->payload_bytes = 0;
    buf_clear(&l->wire.bytes);
    l->sent_ms = clock_now_ms(); /* before the source reads its clock: no TTL gets longer on its way */
    if (!(l->met ? ask_keys(l) : ask_info(l))) {
        buf_free(&l->wire.bytes);
        import_broken(l->m, "out of memory", 0);
        return;
    }
    const char *error = resp_send(l->client, &l->wire);
    l->waiting = error == NULL;
    if (error != NULL) {
        buf_free(&l->wire.bytes);
        lose(l, error);
    }
}

/* ---- INFO ---- */

/* The value behind "name" at the start of a line, or nothing. */
static struct slice line_of(struct slice info, const char *name) {
    size_t n = strlen(name);
    for (const char *p = info.p, *end = p + info.n; p != NULL && (size_t)(end - p) > n;) {
        const char *stop = memchr(p, '\r', (size_t)(end - p));
        stop = stop != NULL ? stop : end;
        if (strncmp(p, name, n) == 0) {
            return slice_make(p + n, (size_t)(stop - p) - n);
        }
        p = memchr(p, '\n', (size_t)(end - p));
        p += p != NULL;
    }
    return slice_make("", 0);
}

static void begin_db(struct live *l) {
    buf_clear(&l->cursor);
    buf_putc(&l->cursor, '0');
    l->scanned = false;
    l->count = l->next = 0;
}

static void take_server(struct live *l, struct slice info) {
    struct slice id = line_of(info, "run_id:");
    bool same = id.n == RUN_ID_BYTES && memcmp(id.p, l->run_id, RUN_ID_BYTES) == 0;
    memset(l->run_id, 0, RUN_ID_BYTES);
    memcpy(l->run_id, id.p, id.n < RUN_ID_BYTES ? id.n : RUN_ID_BYTES);
    if (!same) {
        begin_db(l);
    }
}

static void take_keyspace(struct live *l, struct slice info) {
    char name[32];
    uint64_t total = 0, keys;
    for (int db = 0; db < MAX_DBS && !l->known; db++) {
        snprintf(name, sizeof(name), "db%d:keys=", db);
        struct slice line = line_of(info, name);
        const char *comma = memchr(line.p, ',', line.n);
        bool wanted = !l->url.has_db || l->url.db == db;
        if (wanted && comma != NULL && num_parse_u64(slice_make(line.p, (size_t)(comma - line.p)), &keys)) {
            l->dbs[l->db_count++] = db;
            total += keys;
        }
    }
    if (!l->known) {
        l->known = true;
        import_set(&l->m->total, total);
    }
    l->met = true;
    l->connection = resp_client_connections(l->client);
}

static void info_reply(struct live *l, int index, const struct reply *reply) {
    if (reply->kind != REPLY_BULK) {
        import_broken(l->m, "INFO was refused", 0);
    } else if (index == 0) {
        take_server(l, reply->str);
    } else {
        take_keyspace(l, reply->str);
    }
}

/* ---- keys ---- */

static bool has_code(struct slice s, const char *code) {
    size_t n = strlen(code);
    return s.n >= n && memcmp(s.p, code, n) == 0;
}

/* Not now: the source is starting, or busy. */
static bool will_pass(const struct reply *reply) {
    return reply->kind == REPLY_ERROR && (has_code(reply->str, "LOADING") || has_code(reply->str, "BUSY ") || has_code(reply->str, "MASTERDOWN"));
}

static void take_payload(struct live *l, struct slice name, struct slice payload) {
    struct slice body;
    if (!rdb_check_any_dump(payload, &body) || body.n < 1) {
        import_unreadable(l->m, name, "bad DUMP payload");
        return;
    }
    const unsigned char *p = (const unsigned char *)body.p;
    struct rdb_reader r = {.start = p, .p = p + 1, .end = p + body.n, .max_unpacked = l->max_value};
    const char *foreign = rdb_foreign_type(&r, p[0]);
    if (foreign != NULL) {
        import_skip(l->m, foreign, name);
        return;
    }
    struct import_key k = {.db = (uint64_t)l->client_db, .name = name, .expire_ms = l->ttl_ms == TTL_NONE ? -1 : l->sent_ms + l->ttl_ms};
    struct buf str = {0};
    bool ok = rdb_get_value(&r, p[0], &l->limits, &str, &k.value);
    if (ok && r.p == r.end) {
        k.str = slice_make(str.p, str.n);
        import_put(l->m, &k);
    } else {
        value_unref(k.value);
        import_unreadable(l->m, name, r.error != NULL ? r.error : "bad DUMP payload");
    }
    buf_free(&str);
}

/* The pair of replies about one key is complete. */
static void dump_reply(struct live *l, const struct reply *reply) {
    struct slice name = name_at(l, l->next + (size_t)l->done);
    l->done++;
    pace_spend(&l->m->pace, 1, clock_mono_us());
    if (l->ttl_ms == TTL_UNKNOWN || (reply->kind != REPLY_BULK && reply->kind != REPLY_NULL)) {
        import_unreadable(l->m, name, "error reply");
    } else if (l->ttl_ms == TTL_ABSENT || reply->kind == REPLY_NULL) {
        import_gone(l->m);
    } else {
        l->payload_bytes += reply->str.n;
        take_payload(l, name, reply->str);
    }
}

/* The connection was lost while nothing was on it, and came back with the request: perhaps to another run. */
static bool is_stranger(const struct live *l) {
    return resp_client_connections(l->client) != l->connection;
}

/* The request is to be asked again, from here on. */
static bool stall(struct live *l, const struct reply *reply) {
    l->stalled = l->stalled || will_pass(reply) || is_stranger(l);
    return l->stalled;
}

static void key_reply(struct live *l, int index, const struct reply *reply) {
    if (stall(l, reply)) {
        return;
    }
    if (index % 2 == 0) {
        l->ttl_ms = reply->kind == REPLY_INT ? reply->integer : TTL_UNKNOWN;
    } else {
        dump_reply(l, reply);
    }
}

/* The names that come next; those before are settled. */
static void take_names(struct live *l, const struct reply *reply) {
    if (stall(l, reply)) {
        return;
    }
    bool sound = reply->kind == REPLY_ARRAY && reply->n == 2 && reply->items[0].kind == REPLY_BULK && reply->items[1].kind == REPLY_ARRAY;
    if (!sound) {
        import_broken(l->m, "SCAN was refused", 0);
        return;
    }
    const struct reply *list = &reply->items[1];
    buf_clear(&l->cursor);
    buf_put_slice(&l->cursor, reply->items[0].str);
    l->scanned = slice_eq(buf_slice(&l->cursor), SLICE("0"));
    buf_clear(&l->bytes);
    l->count = l->next = 0;
    l->done = 0;
    if (list->n > l->cap) {
        l->cap = list->n;
        l->names = mem_realloc(l->names, l->cap * sizeof(*l->names));
    }
    for (uint32_t i = 0; i < list->n; i++) {
        if (list->items[i].kind == REPLY_BULK) {
            l->names[l->count++] = (struct name){l->bytes.n, list->items[i].str.n};
            buf_put_slice(&l->bytes, list->items[i].str);
        }
    }
}

static void show_progress(struct live *l) {
    uint64_t total = import_get(&l->m->total), permille = total == 0 ? 0 : import_get(&l->m->seen) * 1000 / total;
    import_set(&l->m->permille, permille > 999 ? 999 : permille); /* the source goes on growing */
}

static void batch_end(struct live *l) {
    if (l->asked > 0 && l->done > 0) {
        l->key_bytes = l->payload_bytes / (size_t)l->done;
    }
    l->next += (size_t)l->done;
    l->done = 0;
    show_progress(l);
    if (l->stalled && is_stranger(l)) {
        import_add(&l->m->reconnects, 1);
        l->met = false;
    } else if (l->stalled) {
        try_again(l, "the source is loading or busy");
    } else {
        l->since_us = clock_mono_us();
    }
}

static void wire_reply(struct resp_request *wire, int index, const struct reply *reply) {
    struct live *l = (struct live *)((char *)wire - offsetof(struct live, wire));
    bool last = index + 1 == wire->commands;
    l->waiting = !last;
    if (!l->met) {
        info_reply(l, index, reply);
    } else if (index < 2 * l->asked) {
        key_reply(l, index, reply);
    } else {
        take_names(l, reply);
    }
    if (last && l->asked + l->scanning > 0) {
        batch_end(l);
    }
    if (last) {
        go(l, true);
    }
}

static void wire_failed(struct resp_request *wire, enum resp_failure failure, const char *error) {
    struct live *l = (struct live *)((char *)wire - offsetof(struct live, wire));
    l->waiting = false;
    bool too_long = failure == RESP_TOO_LONG && l->met && l->done < l->asked;
    if (too_long) { /* this one is left out; the rest is asked again */
        import_unreadable(l->m, name_at(l, l->next + (size_t)l->done), error);
        l->done++;
    } else if (failure == RESP_TOO_LONG || failure == RESP_LOGIN) {
        import_broken(l->m, error, 0);
    }
    l->next += (size_t)l->done;
    l->done = 0;
    lose(l, error);
}

/* ---- going on ---- */

static void open_client(struct live *l, int64_t db) {
    if (l->client != NULL) {
        resp_client_destroy(&l->client);
    }
    l->client_db = db;
    l->met = false;
    l->client = resp_client_create(&(struct resp_client_options){.loop = l->m->loop,
                                                                 .dialer = l->dialer,
                                                                 .host = l->url.host.p,
                                                                 .port = (int)l->url.port,
                                                                 .user = buf_slice(&l->url.user),
                                                                 .password = buf_slice(&l->url.password),
                                                                 .db = (int)db,
                                                                 .connect_ms = CONNECT_MS,
                                                                 .silence_ms = SILENCE_MS,
                                                                 .max_bulk_bytes = l->max_value + PAYLOAD_SLACK_BYTES,
                                                                 .max_abandoned = 1,
                                                                 .max_unsent_bytes = l->max_value,
                                                                 .conns = &l->m->conns});
}

/* Sends what is to be sent, if anything may be now. told: a request of the client is being told something, so it must stay. */
static void go(struct live *l, bool told) {
    if (l->waiting || clock_mono_us() < l->retry_us || !import_may_go(l->m)) {
        return;
    }
    bool over = l->met && l->next == l->count && l->scanned;
    bool elsewhere = l->met && l->db_at < l->db_count && l->client_db != l->dbs[l->db_at];
    if (!over && !elsewhere && (!l->met || l->db_at < l->db_count)) {
        send_request(l);
    } else if (told) {
        return; /* the next tick sees to it */
    } else if (over && l->db_at < l->db_count) {
        l->db_at++;
        begin_db(l);
    } else if (elsewhere) {
        open_client(l, l->dbs[l->db_at]);
    } else if (l->m->in_flight == 0) {
        import_ended(l->m);
    }
}

static void live_step(void *self) {
    go(self, false);
}

static void *live_open(struct import *m) {
    struct live *l = mem_zalloc(sizeof(*l));
    const struct conf *conf = m->srv->workers[0]->conf;
    l->m = m;
    l->limits = (struct hash_limits){(size_t)conf->hash_max_listpack_entries, (size_t)conf->hash_max_listpack_value};
    l->max_value = (size_t)conf->proto_max_bulk_len;
    l->wire.reply = wire_reply;
    l->wire.failed = wire_failed;
    l->since_us = clock_mono_us();
    const char *wrong = redis_url_parse(slice_cstr(m->from), &l->url);
    l->dialer = dialer_create(m->loop);
    begin_db(l);
    if (wrong != NULL) {
        import_broken(m, wrong, 0);
    } else {
        open_client(l, l->url.db);
    }
    return l;
}

static void live_closed(void *ctx) {
    struct live *l = ctx;
    struct import *m = l->m;
    redis_url_free(&l->url);
    buf_free(&l->cursor);
    buf_free(&l->bytes);
    buf_free(&l->wire.bytes);
    mem_free(l->names);
    mem_free(l);
    import_closed(m);
}

static void live_close(void *self) {
    struct live *l = self;
    if (l->client != NULL) {
        resp_client_destroy(&l->client);
    }
    dialer_close(&l->dialer, live_closed, l);
}

const struct import_source import_redis = {.open = live_open, .step = live_step, .close = live_close};
