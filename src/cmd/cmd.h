/* SPDX-License-Identifier: BSD-3-Clause */
/* cmd: a command is a row at the foot of its family's file, beside its handler. From the row come: look-up, arity,
 * the keys and how each is used (hence locks, fills, routing, write-back), COMMAND and its subcommands, ACL
 * categories, statistics, docs and the fuzz grammar.
 *
 * Rows are declared as struct command; registry.c turns them into struct cmd at start (ids, key positions,
 * names of subcommands), which is what calls carry. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/err.h"
#include "src/base/slice.h"
#include "src/cmd/category.h"

struct call;

/* The first group is what COMMAND INFO shows, under Redis's names; the rest is ours. */
enum cmd_flags {
    CMD_WRITE = 1 << 0,
    CMD_READONLY = 1 << 1,
    CMD_DENYOOM = 1 << 2,
    CMD_ADMIN = 1 << 3,
    CMD_PUBSUB = 1 << 4,
    CMD_NOSCRIPT = 1 << 5,
    CMD_BLOCKING = 1 << 6,
    CMD_LOADING = 1 << 7, /* allowed while data is being loaded */
    CMD_STALE = 1 << 8,
    CMD_SKIP_MONITOR = 1 << 9,
    CMD_SKIP_SLOWLOG = 1 << 10,
    CMD_FAST = 1 << 11,
    CMD_NO_AUTH = 1 << 12, /* allowed before AUTH */
    CMD_MAY_REPLICATE = 1 << 13,
    CMD_NO_ASYNC_LOADING = 1 << 14,
    CMD_NO_MULTI = 1 << 15,
    CMD_MOVABLEKEYS = 1 << 16,
    CMD_ALLOW_BUSY = 1 << 17,

    CMD_DANGEROUS = 1 << 20, /* ACL category @dangerous besides @admin */
    CMD_KEYSPACE = 1 << 21,  /* ACL category @keyspace */
    CMD_ALL_SHARDS = 1 << 22, /* runs with every shard locked (FLUSHALL, SWAPDB) */
    CMD_WHOLE = 1 << 23,     /* visits keys not named in its arguments, locking shards itself unless
                                call->all_locked; EXEC then locks every shard */
    CMD_DIRECT = 1 << 24,    /* never queued by MULTI: EXEC, DISCARD, MULTI, WATCH, QUIT, RESET */
    CMD_CONNECTION = 1 << 25, /* ACL category @connection */
    CMD_EXEC = 1 << 26,       /* EXEC: its keys are those of the queued calls */
    CMD_LEASES = 1 << 27,     /* asks for leases itself: a policy's `wait` does not apply */
    CMD_ADMIN_CATEGORY = 1 << 28, /* ACL category @admin, without the flag */
    CMD_DROPS = 1 << 30,      /* DEL, UNLINK: an origin that takes no writes is not asked for what they are to delete */
    CMD_REPEATABLE = 1 << 18, /* a write that may be run twice (without NX and the like): the second time it changes nothing */
    CMD_NEAR = 1 << 19,       /* what it answers of its one key changes with that key alone, not with time or chance: a node may keep the
                                 answer of another one (docs/consistency.md) */
    CMD_FRESH = 1 << 29       /* DUMP, TOUCH: no look-aside client's read: no leases, no waiting, no value past its lifetime */
};

/* How the answers of several nodes become one: of a call whose keys several serve, or, without keys, that every node is asked. */
enum cmd_spread {
    SPREAD_NONE,  /* keys must be of one slot; without keys, it is about this node */
    SPREAD_SUM,   /* numbers, added */
    SPREAD_FIRST, /* all say the same, or one an error */
    SPREAD_JOIN,  /* arrays: behind one another; for keys, in their order */
    SPREAD_ANY,   /* any that is a string */
    SPREAD_SCAN   /* one node after the other, by the cursor */
};

/* How a call uses a key; also COMMAND's key-spec flags. */
enum key_access {
    KEY_R = 1,  /* needs the value */
    KEY_RW = 2, /* reads, then changes */
    KEY_W = 3,  /* overwrites or removes whatever is there: no load needed */
    KEY_M = 4,  /* presence or metadata only */
    KEY_N = 5   /* what is known of it here: nobody is asked */
};

/* One key position rule: argv[first], argv[first+step], ... argv[last] (last < 0 counts from the end). */
struct key_spec {
    int first, last, step;
    enum key_access access;
};

enum { CMD_MAX_KEY_SPECS = 3 };

struct command {
    const char *name;   /* lower case */
    const char *syntax; /* arguments as in Redis's docs: "key value [NX | XX] [EX seconds | PX milliseconds]" */
    int arity;          /* the name included; negative: at least */
    const char *keys;   /* "1:R", "1..-1:R", "1..-1/2:W", "1:R 2:W"; NULL: none. Positions count the name as 0; for a
                           subcommand too ("2:R" is the first argument after it) */
    uint32_t flags;
    enum err (*run)(struct call *c);
    /* Whether the configuration lets this client make the call, or the refusal: asked before MULTI queues it. The handler
     * asks for itself. */
    enum err (*allowed)(struct call *c);
    /* When options change the access of the keys (SET ... GET): may change specs[].access before locks are
     * taken, from the arguments alone. */
    void (*adjust)(const struct slice *argv, int argc, struct key_spec *specs, int count);
    /* When a key is of another database than the client's (MOVE, COPY ... DB): that one's logical number, from the arguments
     * alone, or -1. It is the last key's database, or for a command of one key that of a second key of the same name.
     * Such a command runs with every shard locked (CMD_ALL_SHARDS). */
    int (*other_db)(const struct slice *argv, int argc);
    const struct command *sub; /* subcommands, ended by a row without a name */
    enum cmd_spread spread;
    const char *since, *cost, *summary;
    const char *group;     /* COMMAND DOCS group when it differs from the family's */
    const char *deprecated_since, *replaced_by; /* COMMAND DOCS */
    const char *tips;      /* COMMAND INFO tips, comma separated, as "nondeterministic_output" */
};

/* A row made ready. Immutable after registry_init. */
struct cmd {
    const struct command *row;
    const struct cmd *parent; /* of a subcommand, else NULL */
    struct cmd *subs;
    uint16_t sub_count;
    uint16_t id;              /* dense, 0..registry_count()-1: index of per-command statistics */
    uint8_t spec_count;
    uint8_t family;
    int16_t arity;
    uint32_t flags;
    enum err (*run)(struct call *c);
    struct key_spec specs[CMD_MAX_KEY_SPECS];
    const char *full_name; /* "client|list" for a subcommand */
};

struct family {
    const char *name;  /* "string" */
    const char *group; /* COMMAND DOCS: "string", "generic", "transactions" ... */
    const char *title;
    enum category category; /* of its commands; they may have others by their flags */
    const struct command *rows;
};

/* Builds the look-up table; CHECKs every row (arity against syntax, keys in range). Once, before any loop. */
void registry_init(void);
unsigned registry_count(void); /* rows, subcommands included */
const struct cmd *registry_at(unsigned id);
/* Folds case. NULL when unknown. Any thread. */
const struct cmd *registry_find(struct slice name);
const struct cmd *registry_find_sub(const struct cmd *parent, struct slice name);
/* "get" or "client|list". */
const struct cmd *registry_find_full(struct slice full_name);
unsigned family_count(void);
const struct family *family_at(unsigned i);
/* Top-level commands of the table, in declared order: i < registry_top_count(). */
unsigned registry_top_count(void);
const struct cmd *registry_top(unsigned i);

/* How many keys the arguments name; positions and access into pos/access (room for max). -1: the arguments are
 * too few or wrong for the specs. */
int cmd_keys(const struct cmd *cmd, const struct slice *argv, int argc, int *pos,
             enum key_access *access, int max);
