/* SPDX-License-Identifier: BSD-3-Clause */
/* rule: what one `policy PATTERN [option=value ...]` says of the keys that match its pattern (glob), and what happened to them.
 * The set of all rules is immutable and counted; a change makes a new set, which keeps the counters of patterns that stay.
 *
 * A key follows the rule whose literal prefix (the pattern up to its first wildcard) is the longest; between rules of one
 * prefix, the longest pattern, then the one given first; a rule whose wildcards do not match gives way to the next. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/buf.h"
#include "src/base/slice.h"
#include "src/guard/filter.h"
#include "src/stats/hist.h"

enum rule_early { EARLY_OFF, EARLY_ON };
enum rule_write { WRITE_OFF, WRITE_THROUGH, WRITE_BACK, WRITE_AROUND };
enum rule_filter { FILTER_OFF, FILTER_BLOOM };
enum rule_tier { TIER_ALL, TIER_L1 };
enum rule_compress { COMPRESS_NONE, COMPRESS_LZ4, COMPRESS_ZSTD };

#define RULE_COUNTERS(X)                                                                                           \
    X(hits, "reads answered with a fresh value")                                                                   \
    X(misses, "reads that found no fresh value in any tier")                                                       \
    X(stale, "reads answered with a value past its lifetime")                                                      \
    X(negative, "reads answered by the memory of a key's absence")                                                 \
    X(filtered, "reads the filter answered")                                                                       \
    X(failed_fast, "reads answered by the memory of a failed load")                                                \
    X(loads, "loads sent to the origin")                                                                           \
    X(load_failures, "loads that failed")                                                                          \
    X(joined, "keys a call waited for whose load another had begun")                                               \
    X(refreshes, "loads begun while a value was there: past its lifetime, or shortly before its end")              \
    X(early, "of those, before its end")                                                                           \
    X(leases, "misses whose client was let go to load and SET")                                                    \
    X(leases_settled, "leases that ended with a write")                                                            \
    X(leases_expired, "leases that ended without")                                                                 \
    X(waits, "reads held until another client's write")                                                            \
    X(waits_filled, "of those, answered with its value")                                                           \
    X(waits_expired, "of those, answered without")                                                                 \
    X(overdue, "keys whose load a call waited for no longer, by `wait`")                                           \
    X(uncoalesced, "misses answered at once that might have waited: too many waiters, or the client may not wait") \
    X(jittered, "lifetimes shortened")                                                                             \
    X(writes, "changes sent to the origin")                                                                        \
    X(write_failures, "changes the origin did not take")                                                           \
    X(evicted, "values that left memory for want of room")                                                         \
    X(demoted, "of those, kept on the disk: handed to it, or there already")                                       \
    X(expired, "values whose lifetime ended in memory")                                                            \
    X(purged, "values that a purge had taken when somebody came for them")                                         \
    X(packed, "values compressed for the disk")                                                                    \
    X(packed_saved, "bytes that saved")

enum rule_counter {
#define X(name, doc) RULE_##name,
    RULE_COUNTERS(X)
#undef X
    RULE_COUNTER_COUNT
};

struct rule_options {
#define RULE_FIELD_INT int64_t
#define RULE_FIELD_SIZE int64_t
#define RULE_FIELD_DUR_MS int64_t
#define RULE_FIELD_PERCENT int64_t
#define RULE_FIELD_STR char *
#define OPTION(kind, field, name, def, min, max, words, doc) RULE_FIELD_##kind field;
#define OPTION_ENUM(field, name, def, choices, doc) int field;
#include "src/guard/rule.def"
#undef OPTION
#undef OPTION_ENUM
};

enum { RULE_STRIPES = 16, RULE_QUOTAS_MAX = 15 /* rules with a quota: the memory tier has so many groups */ };

struct window;

/* What happened to the keys of a pattern. Counted in stripes, so that loops do not share a cache line. */
struct rule_stats {
    _Atomic unsigned refs;
    char *pattern;
    struct {
        _Atomic uint64_t n[RULE_COUNTER_COUNT];
        _Atomic(struct hist *) latency; /* ticks, waiting included; NULL until the first call */
        char pad[64]; /* the next stripe is on another cache line */
    } stripes[RULE_STRIPES];
    struct filter filter;
    _Atomic unsigned group; /* of its items in the memory tier, while it has a quota there; 0: none */
    struct window *window; /* hits and misses of late: src/server/sight.c, under its lock; owned, NULL until the first second */
    /* lifetimes that end in a second of the wall clock, a ring; made for ttl-jitter=auto: see deadline.h */
    _Atomic(_Atomic uint64_t *) ends;
};

struct rule {
    struct rule_options opt;
    struct slice pattern; /* owned */
    size_t literal;       /* bytes of the pattern before its first wildcard */
    unsigned at;             /* place in the list */
    const struct rule *next; /* the rule to ask when the wildcards of this one do not match */
    struct rule_stats *stats;
    void *target;   /* its origin, as rules_bind was told; NULL when it has none */
};

struct rules {
    _Atomic unsigned refs;
    unsigned count;
    unsigned filters;   /* rules with a filter */
    unsigned writes;    /* rules that write to their origins */
    unsigned quotas;    /* rules with a quota */
    unsigned packs;     /* rules whose values are compressed on disk */
    struct rule **list; /* in the order given */
    struct radix *tree; /* literal prefix -> its rule to ask first */
    struct radix *patterns; /* pattern -> its rule */
};

/* One line, "PATTERN option=value ...". False with the reason in why. */
bool rule_check(struct slice line, struct buf *why);
/* A set of a line each, one reference; NULL when there is no line. before: whose counters go on, may be NULL. The lines have
 * been checked; the later of two with one pattern counts. */
struct rules *rules_create(const char *lines, const struct rules *before);
/* Looks up the origin of each rule that names one, once, before the set is shared. */
void rules_bind(struct rules *r, void *(*find)(void *ctx, struct slice origin), void *ctx);
struct rules *rules_ref(struct rules *r);
void rules_unref(struct rules *r);
/* The rule of a name, or NULL. Any thread. */
const struct rule *rules_match(const struct rules *r, struct slice name);
/* The rule whose filter is the value of a key of that name, or NULL. No rule matches that key. */
const struct rule *rules_filtered_by(const struct rules *r, struct slice name);
/* The rule of that very pattern, or NULL. */
const struct rule *rules_find(const struct rules *r, struct slice pattern);
/* What the first * of the pattern stands for in a matching name, as little as can be: "42" of user:42:cart with user:*:cart.
 * Empty when it has none. */
struct slice rule_capture(const struct rule *rule, struct slice name);
/* " option=value" of all that is not the default. */
void rule_print(const struct rule *rule, struct buf *out);
/* The table of options for the documentation. */
void rule_docs(struct buf *out);
/* The lines without that of a pattern, and with a new line at the end (n 0: none). */
void rules_edit(const char *lines, struct slice pattern, struct slice line, struct buf *out);
uint64_t rule_count_read(const struct rule_stats *s, enum rule_counter c);
/* A call with a key of the rule has taken so many ticks; from that loop's thread. */
void rule_took(const struct rule *rule, unsigned loop, uint64_t ticks);
/* Adds how long such calls took. Any thread. */
void rule_latency_read(const struct rule_stats *s, struct hist_sum *sum);

/* Whether its absent keys are loaded by clients, one of them at a time, and not by the server. */
static inline bool rule_leases(const struct rule *rule) {
    return rule->opt.wait_ms > 0 && rule->target == NULL;
}

static inline void rule_add(const struct rule *rule, unsigned loop, enum rule_counter c, uint64_t by) {
    _Atomic uint64_t *n = &rule->stats->stripes[loop % RULE_STRIPES].n[c];
    atomic_fetch_add_explicit(n, by, memory_order_relaxed);
}
static inline void rule_count(const struct rule *rule, unsigned loop, enum rule_counter c) {
    rule_add(rule, loop, c, 1);
}
