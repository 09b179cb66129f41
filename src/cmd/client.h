/* SPDX-License-Identifier: BSD-3-Clause */
/* client: what the command layer knows of the peer that sent a call. The session of src/server embeds it and adds
 * transport and buffers. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/list.h"
#include "src/base/slice.h"

struct cmd;
struct txn;
struct watch;

enum client_flags {
    CLIENT_MULTI = 1 << 0,      /* between MULTI and EXEC */
    CLIENT_DIRTY_EXEC = 1 << 1, /* a queued command was refused: EXEC aborts */
    CLIENT_CLOSE_AFTER_REPLY = 1 << 2,
    CLIENT_REPLY_OFF = 1 << 3,
    CLIENT_REPLY_SKIP_NEXT = 1 << 4, /* CLIENT REPLY SKIP was this call */
    CLIENT_REPLY_SKIP = 1 << 5,      /* drop this call's reply */
    CLIENT_MONITOR = 1 << 6,
    CLIENT_NO_EVICT = 1 << 7,
    CLIENT_NO_TOUCH = 1 << 8,
    CLIENT_UNIX = 1 << 9,
    CLIENT_READONLY = 1 << 10, /* READONLY of cluster clients */
    CLIENT_BLOCKED = 1 << 11,
    CLIENT_ATTRIBUTES = 1 << 12 /* replies to reads say where the value came from (RESP3) */
};

enum { CLIENT_ADDR_MAX = 128 };

struct client {
    /* fixed after create */
    uint64_t id;
    int64_t created_ms;
    char addr[CLIENT_ADDR_MAX], laddr[CLIENT_ADDR_MAX];
    int fd;
    int loop_id;

    /* owner loop only */
    bool authenticated;
    struct txn *txn;             /* queued calls, while CLIENT_MULTI */
    struct watch **watches;      /* src/server/txn.c */
    size_t watch_count, watch_cap;

    /* SESSIONS lock of its loop: changed by the owner under the lock, read by others under it */
    struct list node;
    char *name, *lib_name, *lib_ver; /* owned, NULL when unset */
    char *user;                      /* "default" */

    /* atomic: written by the owner, read by CLIENT LIST, relaxed */
    _Atomic uint32_t flags;
    _Atomic uint8_t db;    /* logical database */
    _Atomic uint8_t proto; /* 2 or 3 */
    _Atomic int64_t last_ms;
    _Atomic(const struct cmd *) last_cmd;
    _Atomic size_t in_bytes, out_bytes, arg_bytes; /* buffers held now */
    _Atomic uint64_t calls, net_in, net_out;
    _Atomic int multi_count; /* queued calls, -1 outside MULTI */
    _Atomic int watch_mark;  /* number of watched keys */
    _Atomic bool watch_dirty; /* a watched key changed */
    _Atomic bool kill;       /* CLIENT KILL from elsewhere: the owner closes it at its next turn */
    _Atomic int unblock;     /* CLIENT UNBLOCK: 1 timeout, 2 error */
};

static inline uint32_t client_flags(const struct client *c) {
    return atomic_load_explicit(&c->flags, memory_order_relaxed);
}
static inline bool client_is(const struct client *c, uint32_t flag) {
    return (client_flags(c) & flag) != 0;
}
/* Owner only. */
static inline void client_flag(struct client *c, uint32_t flag, bool on) {
    uint32_t f = client_flags(c);
    atomic_store_explicit(&c->flags, on ? f | flag : f & ~flag, memory_order_relaxed);
}
