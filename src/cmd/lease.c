/* SPDX-License-Identifier: BSD-3-Clause */
/* lease: LEASE.GET, LEASE.SET and LEASE.DROP, for clients that know: of many that miss a key one is let go to load it, with a token
 * that its SET must show, and the others wait, or take a value past its lifetime (Nishtala et al.: Scaling Memcache at
 * Facebook, NSDI 2013). Unmodified clients get the same from a policy with `wait`. */
#include <stdio.h>

#include "src/cmd/call.h"
#include "src/tier/tier.h"

struct lease_get {
    int64_t wait_ms, stale_ms, early_ms; /* -1: not given */
};

static enum err parse_get(struct call *c, struct lease_get *o) {
    *o = (struct lease_get){.wait_ms = 0, .stale_ms = -1, .early_ms = -1};
    for (int i = 2; i < c->argc; i += 2) {
        int64_t v;
        if (i + 1 >= c->argc) {
            return ERR_SYNTAX;
        }
        if (arg_i64(c, i + 1, &v) != OK) {
            return ERR_NOT_INT;
        }
        if (v < 0 || v > INT64_MAX / 1000) {
            return call_errorf(c, "ERR value is out of range, must be positive");
        }
        if (arg_is(c, i, "WAIT")) {
            o->wait_ms = v;
        } else if (arg_is(c, i, "STALE")) {
            o->stale_ms = v * 1000;
        } else if (arg_is(c, i, "EARLY")) {
            o->early_ms = v * 1000;
        } else {
            return ERR_SYNTAX;
        }
    }
    return OK;
}

/* RESP3 map, RESP2 array of pairs: state, value (or null), token (or null), pttl (as PTTL says; negative: for so long past its end). */
static enum err reply_lease(struct call *c, const char *state, const struct item_view *v, const struct lease *won) {
    reply_map(c->out, 4);
    reply_bulk_cstr(c->out, "state");
    reply_bulk_cstr(c->out, state);
    reply_bulk_cstr(c->out, "value");
    if (v != NULL) {
        call_reply_string(c, v);
    } else {
        reply_null(c->out);
    }
    reply_bulk_cstr(c->out, "token");
    if (won != NULL) {
        char token[32];
        int n = snprintf(token, sizeof(token), "%016llx", (unsigned long long)won->token);
        reply_bulk(c->out, slice_make(token, (size_t)n));
    } else {
        reply_null(c->out);
    }
    reply_bulk_cstr(c->out, "pttl");
    reply_int(c->out, v == NULL ? -2 : v->expire_ms == L1_NO_TTL ? -1 : v->expire_ms - c->now_ms);
    return OK;
}

static const struct rule *rule_of(const struct call *c) {
    return c->rule_of != NULL ? c->rule_of[0] : NULL;
}

static struct lease *win(struct call *c) {
    return guard_grant(c->host->tier->guard, &c->keys[0], NULL, c->now_ms, c->conf->lease_time);
}

static enum err lease_get_run(struct call *c) {
    struct lease_get o;
    struct item_view v;
    enum err e = parse_get(c, &o);
    if (e != OK) {
        return e;
    }
    bool found = l1_get(c->l1, &c->keys[0], c->now_ms, L1_STALE, &v);
    if (found && v.type != TYPE_STRING) {
        return ERR_WRONGTYPE;
    }
    bool fresh = found && !v.stale, wins = c->host->ops->may_lease(c);
    bool usable = found && v.stale && o.stale_ms >= 0 && v.expire_ms + o.stale_ms > c->now_ms;
    struct lease *l = guard_lease(c->host->tier->guard, rule_of(c), &c->keys[0], (unsigned)c->client->loop_id, c->now_ms);
    call_count_read(c, 0, fresh ? &v : NULL);
    if (fresh) {
        bool early = o.early_ms >= 0 && v.expire_ms != L1_NO_TTL && v.expire_ms - c->now_ms <= o.early_ms && l == NULL && wins;
        return early ? reply_lease(c, "won", &v, win(c)) : reply_lease(c, "hit", &v, NULL);
    }
    if (l == NULL) {
        return wins ? reply_lease(c, "won", usable ? &v : NULL, win(c)) : reply_lease(c, "miss", usable ? &v : NULL, NULL);
    }
    if (usable) {
        return reply_lease(c, "stale", &v, NULL);
    }
    if (o.wait_ms > 0 && !c->waited && c->host->ops->hold(c, l, o.wait_ms)) {
        return ERR_PARKED;
    }
    return reply_lease(c, "wait", NULL, NULL);
}

/* A token as LEASE.GET gave it: 16 hexadecimal digits. */
static enum err arg_token(struct call *c, int i, uint64_t *token) {
    *token = 0;
    bool ok = c->argv[i].n == 16;
    for (size_t k = 0; ok && k < 16; k++) {
        const char *digits = "0123456789abcdef", *at = strchr(digits, c->argv[i].p[k] | 0x20);
        ok = at != NULL && *at != '\0';
        *token = *token << 4 | (ok ? (uint64_t)(at - digits) : 0);
    }
    return ok ? OK : call_errorf(c, "ERR invalid token");
}

static enum err lease_set_run(struct call *c) {
    uint64_t token;
    int64_t expire_ms = L1_NO_TTL;
    enum err e = arg_token(c, 3, &token);
    if (e != OK) {
        return e;
    }
    if (c->argc == 6 && (arg_is(c, 4, "EX") || arg_is(c, 4, "PX"))) {
        e = arg_expire(c, 5, arg_is(c, 4, "EX") ? 1000 : 1, true, &expire_ms);
    } else if (c->argc != 4) {
        e = ERR_SYNTAX;
    }
    if (e != OK) {
        return e;
    }
    struct lease *l = guard_lease(c->host->tier->guard, rule_of(c), &c->keys[0], (unsigned)c->client->loop_id, c->now_ms);
    if (l == NULL || l->token != token) {
        reply_int(c->out, 0); /* the key was written or deleted since, or the lease's time is over */
        return OK;
    }
    e = call_set(c, 0, c->argv[2], expire_ms, 0);
    if (e == OK) {
        reply_int(c->out, 1);
    }
    return e;
}

static enum err lease_drop_run(struct call *c) {
    uint64_t token;
    enum err e = arg_token(c, 2, &token);
    if (e == OK) {
        reply_int(c->out, guard_drop(c->host->tier->guard, &c->keys[0], token));
    }
    return e;
}

const struct command lease_commands[] = {
    {.name = "lease.get", .syntax = "key [WAIT milliseconds] [STALE seconds] [EARLY seconds]", .arity = -2, .keys = "1:R", .flags = CMD_READONLY | CMD_FAST | CMD_LEASES,
     .run = lease_get_run, .since = "7.2.0", .cost = "O(1)", .summary = "Returns a value, or a lease to load it, or waits for who has it."},
    {.name = "lease.set", .syntax = "key value token [EX seconds | PX milliseconds]", .arity = -4, .keys = "1:W", .flags = CMD_WRITE | CMD_DENYOOM | CMD_LEASES,
     .run = lease_set_run, .since = "7.2.0", .cost = "O(1)", .summary = "Sets a loaded value, if the lease still holds."},
    {.name = "lease.drop", .syntax = "key token", .arity = 3, .keys = "1:W", .flags = CMD_WRITE | CMD_FAST | CMD_LEASES, .run = lease_drop_run, .since = "7.2.0",
     .cost = "O(1)", .summary = "Gives a lease back without a value."},
    {0}};
