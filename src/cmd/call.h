/* SPDX-License-Identifier: BSD-3-Clause */
/* call: one command on its way through the six steps (resolve, route, fill, run, commit, reply). A handler runs when its
 * keys are resident and their shards locked: it reads arguments and values, changes keys through the functions
 * below, writes its reply to c->out, and returns OK; or returns a row of errors.def, which the dispatcher writes.
 * It never blocks, and never sees a tier, a lock or an event.
 *
 * A handler must check all arguments before it changes anything or writes any reply. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/arena.h"
#include "src/base/check.h"
#include "src/base/err.h"
#include "src/base/hash.h"
#include "src/base/num.h"
#include "src/base/slice.h"
#include "src/cmd/client.h"
#include "src/cmd/cmd.h"
#include "src/cmd/host.h"
#include "src/conf/conf.h"
#include "src/l1/l1.h"
#include "src/resp/reply.h"
#include "src/rt/pool.h"
#include "src/stats/stats.h"
#include "src/tier/guard.h"

#define CALL_STEPS(X)                                                                              \
    X(RESOLVE, "resolve")                                                                          \
    X(ROUTE, "route")                                                                              \
    X(FILL, "fill")                                                                                \
    X(RUN, "run")                                                                                  \
    X(COMMIT, "commit")                                                                            \
    X(REPLY, "reply")

enum call_step {
#define X(name, text) STEP_##name,
    CALL_STEPS(X)
#undef X
};

/* What a call did to a key: commit turns it into consequences. */
enum key_change { CHANGE_NONE, CHANGE_SET, CHANGE_DEL, CHANGE_EXPIRE };

/* What a peer says of a call it sends. */
enum call_peer {
    PEER_QUIET = 1,  /* no reply */
    PEER_GUTTER = 2, /* in place of the slot's owner, which is silent */
    PEER_STALE = 4,  /* the peer's ring is another one than ours: whose the keys are has to be looked at */
    PEER_NODE = 8,   /* on its own behalf, not a client's: keys are handed over */
    PEER_NEAR = 16   /* it will keep the reply, if it may */
};

struct rule;
struct rules;

struct call {
    const struct cmd *cmd;
    struct slice *argv;
    int argc;
    int nkeys;
    struct key *keys;       /* nkeys of them, in argument order */
    uint8_t *access;        /* enum key_access of each */
    uint8_t *changes;       /* enum key_change of each; NULL until the first change */
    struct out *out;
    struct arena *arena;    /* dies with the reply (or with the parked call) */
    struct client *client;
    struct host *host;
    struct l1 *l1;          /* host->l1 */
    const struct conf *conf;
    struct rules *rules;    /* this turn's policies by key pattern, or NULL */
    const struct rule **rule_of; /* nkeys of them, some NULL; or NULL: none applies, or (not matched) nobody has looked */
    uint8_t *verdicts;      /* with rule_of: enum guard_verdict of each read, before the fill */
    uint8_t *asked;         /* nkeys of them: the tiers beside memory that were asked for the key, a bit for each enum stat_tier;
                               or NULL: none was */
    struct stats *stats;    /* this loop's */
    int64_t now_ms;         /* wall clock of this turn */
    uint32_t changed;       /* keys changed so far */
    uint32_t tag;           /* of a call that came from a peer: its number there */
    uint32_t keep_ms;       /* how long the peer may keep the reply; 0: not */
    uint8_t peer;           /* enum call_peer bits */
    uint8_t step;
    uint8_t db;             /* physical database of the client's logical one */
    bool exact;             /* it hands lifetimes on as they are (RENAME, COPY): no policy shortens them */
    bool all_locked;        /* every shard is locked: FLUSHALL, and EXEC with a CMD_WHOLE call */
    bool in_exec;           /* inside EXEC (or a script): may not yield or park */
    bool matched;           /* rule_of says which rules apply */
    uint8_t see;            /* enum guard_see: what its reads see */
    bool far;               /* its reads are more than a look into memory: asked, or see, say how; or the client wants to be told */
    bool stale;             /* some read was answered with a value past its lifetime */
    bool read;              /* far: a read has noted the value's deadline: */
    int64_t read_expire_ms; /* L1_NO_TTL; INT64_MIN: there was none */
    uint32_t read_written;  /* when that value was written, a stamp */
    bool waited;            /* was held as long as it may be: must answer now */
    bool ahead;             /* will be inside EXEC: runs now, without locks, as far as call_wait; state is kept until then */
    bool remapped;          /* databases were flushed or swapped: where replies wait for the sinks, this one waits for that, too */
    bool detached;          /* lives on the heap: parked or yielding */
    struct buf *input;      /* the session's input, when this call's arguments fill it: call_set may adopt it; else NULL */
    struct blob *adopted;   /* the blob that keeps the arguments since then; the dispatcher's to release */
    void *sync;             /* acknowledgements the reply waits for: src/server/park.c */
    void *state;            /* a yielding handler's own, NULL on the first run */
    void (*state_free)(void *state);
};

/* The policy of key i, or NULL. */
static inline const struct rule *call_rule(const struct call *c, int i) {
    if (likely(c->rules == NULL)) {
        return NULL;
    }
    return !c->matched ? rules_match(c->rules, c->keys[i].name) : c->rule_of != NULL ? c->rule_of[i] : NULL;
}

/* ---- keys: index i is the i-th key of the call ---- */

/* What is rare of a read: which tier it counts for. */
void call_read_far(struct call *c, int i, const struct item_view *v);

/* Counts a keyspace hit, or a miss: v is what was found, or NULL. */
static inline void call_count_read(struct call *c, int i, const struct item_view *v) {
    stats_count_read(c->stats, c->cmd->id, v != NULL);
    if (unlikely(c->far)) {
        call_read_far(c, i, v);
    }
}

/* False when absent. Counts. */
static inline bool call_get(struct call *c, int i, struct item_view *v) {
    unsigned flags = client_is(c->client, CLIENT_NO_TOUCH) ? L1_NOTOUCH : L1_TOUCH;
    bool found = l1_get(c->l1, &c->keys[i], c->now_ms, flags | (c->see == SEE_STALE ? L1_STALE : 0), v) &&
                 likely(c->see != SEE_NOTHING);
    if (c->cmd->flags & CMD_READONLY) {
        call_count_read(c, i, found ? v : NULL);
    }
    return found;
}

/* OK with v->type == TYPE_NONE when absent; ERR_WRONGTYPE when it is of another type. */
static inline enum err call_get_type(struct call *c, int i, enum value_type type,
                                     struct item_view *v) {
    if (!call_get(c, i, v)) {
        v->type = TYPE_NONE;
        v->expire_ms = L1_NO_TTL;
        v->str = slice_make("", 0);
        v->blob = NULL;
        v->value = NULL;
        return OK;
    }
    return v->type == type ? OK : ERR_WRONGTYPE;
}

/* Presence and metadata without touching the eviction policy's clock (TTL, TYPE, OBJECT, EXISTS). */
static inline bool call_peek(struct call *c, int i, struct item_view *v) {
    return l1_get(c->l1, &c->keys[i], c->now_ms, L1_NOTOUCH, v);
}

/* Notes that key i changed; the functions below do it themselves. */
void call_changed(struct call *c, int i, enum key_change change);

/* After the handler of a call that runs in the place of a silent owner: whatever its keys hold now, written by whatever command or loaded, lives for
 * gutter-ttl at most. */
void call_end_soon(struct call *c);

/* Sets a string. expire_ms: absolute deadline, L1_NO_TTL or L1_KEEP_TTL. A deadline already past deletes the key. */
enum err call_set(struct call *c, int i, struct slice value, int64_t expire_ms, unsigned l1_flags)
    __attribute__((warn_unused_result));
/* Sets the strings of all keys, without deadlines: key i's is argument first + i * step. All or, without memory, none. */
enum err call_set_all(struct call *c, int first, int step) __attribute__((warn_unused_result));
/* Stores an aggregate, taking the reference (also on failure). */
enum err call_set_value(struct call *c, int i, struct value *value, int64_t expire_ms)
    __attribute__((warn_unused_result));
/* String bytes for writing in place, len long; see l1_string_mut. */
enum err call_string_mut(struct call *c, int i, size_t len, char **out)
    __attribute__((warn_unused_result));
/* Notes that the present string is no longer to be reported as a number or a short string; not a change. */
void call_string_raw(struct call *c, int i);
/* The aggregate for changing in place; end with call_value_changed, or call_value_kept when nothing came of it. NULL: no memory. */
struct value *call_value_mut(struct call *c, int i);
/* True when the key went with its last element. */
bool call_value_changed(struct call *c, int i);
void call_value_kept(struct call *c, int i);
bool call_del(struct call *c, int i);
/* Sets or removes (L1_NO_TTL) the deadline of a present key; a past one deletes. ERR_OUT_OF_MEMORY: the old one stands. */
enum err call_expire(struct call *c, int i, int64_t expire_ms) __attribute__((warn_unused_result));

/* ---- replies ---- */
/* "-ERR ..." with arguments; returns ERR_REPLIED for `return call_errorf(...)`. */
enum err call_errorf(struct call *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A string value as a bulk: large ones by reference to their blob, so that they are not copied under the lock. */
void call_reply_string(struct call *c, const struct item_view *v);

/* ---- arguments ---- */
static inline bool arg_is(const struct call *c, int i, const char *word) {
    return i < c->argc && slice_eqi(c->argv[i], word);
}
static inline enum err arg_i64(const struct call *c, int i, int64_t *out) {
    return num_parse_i64(c->argv[i], out) ? OK : ERR_NOT_INT;
}
/* A relative or absolute time argument as Redis checks it: must be > 0 and not overflow; unit_ms 1 or 1000; now added when
 * relative. On failure the reply "ERR invalid expire time in '<command>' command" is written: ERR_REPLIED. */
enum err arg_expire(struct call *c, int i, int64_t unit_ms, bool relative, int64_t *deadline_ms);
/* "ERR wrong number of arguments for 'x' command" */
enum err call_arity_error(struct call *c);
/* "ERR unknown subcommand or wrong number of arguments for 'X'. Try Y HELP.": a subcommand, as it was written, takes fewer. */
enum err call_too_many(struct call *c);
/* HELP of a container command: the lines Redis prints around them are added ("<X> <subcommand> [<arg> ...]. Subcommands
 * are:", and HELP itself). lines ends with NULL. */
enum err call_reply_help(struct call *c, const char *const *lines);

/* ---- long work ---- */
/* A handler with work left saves its place in c->state and returns call_yield(c): it runs again in a later turn of the
 * loop, after others had theirs (its shards unlocked in between). Not when c->in_exec: then it must finish. */
static inline bool call_may_yield(const struct call *c) {
    return !c->in_exec;
}
enum err call_yield(struct call *c);

/* Work a handler has done on a thread that may block: the handler returns call_wait(c, job) and runs again when job->run has
 * (or when there was no thread for it: refused). Lives in c->state. Where call_may_yield. */
struct call_job {
    struct job job; /* run is the handler's, the rest the dispatcher's */
    struct pool *pool; /* whose thread; NULL: the host's */
    void *parked;
    bool refused;
};
enum err call_wait(struct call *c, struct call_job *job);
