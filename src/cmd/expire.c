/* SPDX-License-Identifier: BSD-3-Clause */
/* expire: deadlines of keys. */
#include "src/cmd/call.h"
#include "src/cmd/key.h"

enum { EX_NX = 1, EX_XX = 2, EX_GT = 4, EX_LT = 8 };

static enum err parse_condition(struct call *c, unsigned *flags) {
    *flags = 0;
    for (int i = 3; i < c->argc; i++) {
        if (arg_is(c, i, "nx")) {
            *flags |= EX_NX;
        } else if (arg_is(c, i, "xx")) {
            *flags |= EX_XX;
        } else if (arg_is(c, i, "gt")) {
            *flags |= EX_GT;
        } else if (arg_is(c, i, "lt")) {
            *flags |= EX_LT;
        } else {
            return call_errorf(c, "ERR Unsupported option %.*s", SLICE_ARG(c->argv[i]));
        }
    }
    if ((*flags & EX_NX) && (*flags & ~(unsigned)EX_NX)) {
        return call_errorf(c, "ERR NX and XX, GT or LT options at the same time are not compatible");
    }
    if ((*flags & EX_GT) && (*flags & EX_LT)) {
        return call_errorf(c, "ERR GT and LT options at the same time are not compatible");
    }
    return OK;
}

static bool condition_holds(unsigned flags, int64_t old, int64_t fresh) {
    bool none = old == L1_NO_TTL;
    return !((flags & EX_NX) && !none) && !((flags & EX_XX) && none) &&
           !((flags & EX_GT) && (none || fresh <= old)) && !((flags & EX_LT) && !none && fresh >= old);
}

static enum err expire_generic(struct call *c, int64_t unit_ms, bool relative) {
    int64_t when;
    unsigned flags;
    enum err e = parse_condition(c, &flags);
    if (e != OK) {
        return e;
    }
    if (arg_i64(c, 2, &when) != OK) {
        return ERR_NOT_INT;
    }
    if (__builtin_mul_overflow(when, unit_ms, &when) ||
        (relative && __builtin_add_overflow(when, c->now_ms, &when))) {
        return call_errorf(c, "ERR invalid expire time in '%s' command", c->cmd->full_name);
    }
    struct item_view v;
    if (!call_peek(c, 0, &v) || !condition_holds(flags, v.expire_ms, when)) {
        reply_int(c->out, 0);
        return OK;
    }
    e = call_expire(c, 0, when < 0 ? 0 : when);
    if (e == OK) {
        reply_int(c->out, 1);
    }
    return e;
}

enum err expire_run(struct call *c) {
    return expire_generic(c, 1000, true);
}

enum err expireat_run(struct call *c) {
    return expire_generic(c, 1000, false);
}

enum err pexpire_run(struct call *c) {
    return expire_generic(c, 1, true);
}

enum err pexpireat_run(struct call *c) {
    return expire_generic(c, 1, false);
}

enum err persist_run(struct call *c) {
    struct item_view v;
    bool had = call_peek(c, 0, &v) && v.expire_ms != L1_NO_TTL;
    enum err e = had ? call_expire(c, 0, L1_NO_TTL) : OK;
    if (e == OK) {
        reply_int(c->out, had);
    }
    return e;
}

/* -2 absent, -1 without a deadline, else the rest or the deadline itself, rounded as Redis does. */
static enum err ttl_generic(struct call *c, bool in_ms, bool absolute) {
    struct item_view v;
    bool found = call_peek(c, 0, &v);
    call_count_read(c, 0, found ? &v : NULL);
    if (!found || v.expire_ms == L1_NO_TTL) {
        reply_int(c->out, found ? -1 : -2);
        return OK;
    }
    int64_t ms = absolute ? v.expire_ms : v.expire_ms - c->now_ms;
    ms = ms < 0 ? 0 : ms;
    reply_int(c->out, in_ms ? ms : (ms + 500) / 1000);
    return OK;
}

enum err ttl_run(struct call *c) {
    return ttl_generic(c, false, false);
}

enum err pttl_run(struct call *c) {
    return ttl_generic(c, true, false);
}

enum err expiretime_run(struct call *c) {
    return ttl_generic(c, false, true);
}

enum err pexpiretime_run(struct call *c) {
    return ttl_generic(c, true, true);
}
