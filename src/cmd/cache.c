/* SPDX-License-Identifier: BSD-3-Clause */
/* cache: CACHE: what the cache knows of itself. HOTKEYS in Redis 8.6's form. */
#include "src/cmd/cache.h"

#include <stdlib.h>

#include "src/base/mem.h"
#include "src/cmd/call.h"
#include "src/guard/rule.h"
#include "src/sight/sight.h"
#include "src/tier/tier.h"

enum { LIST_DEFAULT = 16 };

/* The logical number of a physical database, -1: it was flushed. */
static int logical_of(const struct call *c, uint8_t db) {
    for (int i = 0; i < c->conf->databases; i++) {
        if (c->l1->db_map[i] == db) {
            return i;
        }
    }
    return -1;
}

/* [COUNT n] from argument 2 on. */
static enum err get_count(struct call *c, int64_t most, int64_t *n) {
    *n = LIST_DEFAULT;
    if (c->argc == 2) {
        return OK;
    }
    if (c->argc != 4 || !arg_is(c, 2, "count")) {
        return ERR_SYNTAX;
    }
    if (arg_i64(c, 3, n) != OK) {
        return ERR_NOT_INT;
    }
    return *n < 1 || *n > most ? call_errorf(c, "ERR COUNT is 1 to %lld", (long long)most) : OK;
}

static void put(struct call *c, const char *name) {
    reply_bulk_cstr(c->out, name);
}

/* ---- MRC ---- */

static void reply_curve(struct call *c, uint64_t bytes, const double *hit) {
    reply_array(c->out, MRC_SCALES);
    for (unsigned i = 0; i < MRC_SCALES; i++) {
        reply_map(c->out, 3);
        put(c, "scale");
        reply_double(c->out, mrc_scales[i]);
        put(c, "bytes");
        reply_int(c->out, (int64_t)((double)bytes * mrc_scales[i]));
        put(c, "hit-rate");
        reply_double(c->out, hit[i]);
    }
}

static void reply_report(struct call *c, const struct mrc_report *r) {
    reply_map(c->out, 7 + r->has_l2 + (r->has_shadow ? 2 : 0));
    put(c, "policy");
    put(c, r->policy);
    put(c, "sample-rate");
    reply_double(c->out, r->rate);
    put(c, "sampled-reads");
    reply_int(c->out, (int64_t)r->reads);
    put(c, "sampled-items");
    reply_int(c->out, (int64_t)r->items);
    put(c, "rough");
    reply_bool(c->out, r->rough);
    put(c, "memory-bytes");
    reply_int(c->out, (int64_t)r->memory);
    put(c, "l1");
    reply_curve(c, r->l1_bytes, r->l1_hit);
    if (r->has_l2) {
        put(c, "l1+l2");
        reply_curve(c, r->l2_bytes, r->l2_hit);
    }
    if (r->has_shadow) {
        put(c, "shadow-policy");
        put(c, r->shadow);
        put(c, "shadow-hit-rate");
        reply_double(c->out, r->shadow_hit);
    }
}

/* The number of the policy of that pattern, as events have it. */
static enum err find_rule(struct call *c, struct slice pattern, unsigned *number) {
    struct rules *rules = guard_rules(c->host->tier->guard);
    const struct rule *rule = rules_find(rules, pattern);
    *number = rule != NULL ? rule->at + 1 : 0;
    rules_unref(rules);
    if (rule == NULL) {
        return call_errorf(c, "ERR no policy has that pattern; POLICY LIST shows them");
    }
    return *number > MRC_RULES ? call_errorf(c, "ERR only the first %d policies have curves of their own", MRC_RULES) : OK;
}

static enum err mrc_run(struct call *c) {
    struct mrc_report r;
    unsigned rule = 0;
    if (c->argc != 2 && (c->argc != 4 || !arg_is(c, 2, "policy"))) {
        return ERR_SYNTAX;
    }
    enum err e = c->argc == 4 ? find_rule(c, c->argv[3], &rule) : OK;
    if (e == OK) {
        sight_mrc(c->host->sight, rule, &r);
        reply_report(c, &r);
    }
    return e;
}

/* ---- HOTKEYS ---- */

static enum err hot_run(struct call *c) {
    struct sight_key *keys;
    int64_t count, shown = 0;
    enum err e = get_count(c, TOPK_KEEP, &count);
    if (e != OK) {
        return e;
    }
    unsigned n = sight_hot_keys(c->host->sight, TOPK_KEEP, &keys);
    struct reply_deferred d = reply_defer(c->out, '*');
    for (unsigned i = 0; i < n && shown < count; i++) {
        int db = logical_of(c, keys[i].db);
        if (db < 0) {
            continue;
        }
        shown++;
        reply_map(c->out, 4);
        put(c, "key");
        reply_bulk(c->out, slice_make(keys[i].name, keys[i].name_n));
        put(c, "db");
        reply_int(c->out, db);
        put(c, "accesses");
        reply_int(c->out, (int64_t)keys[i].accesses);
        put(c, "per-second");
        reply_double(c->out, keys[i].per_second);
    }
    reply_defer_end(c->out, d, shown);
    mem_free(keys);
    return OK;
}

/* ---- BIGKEYS ---- */

/* Bytes of the value in memory now, and its type; 0: it is not there, or of a database that was flushed. */
static size_t size_now(struct call *c, const struct big_item *item, uint8_t *type) {
    struct key key = key_make(slice_make(item->name, item->name_n), item->db);
    struct item_view v;
    unsigned shard = l1_shard_of(c->l1, key.hash);
    if (!c->all_locked) {
        l1_lock(c->l1, shard);
    }
    bool there = logical_of(c, item->db) >= 0 && l1_get(c->l1, &key, c->now_ms, L1_NOTOUCH, &v);
    size_t bytes = 0;
    if (there) {
        *type = (uint8_t)v.type;
        bytes = v.type == TYPE_STRING ? v.str.n : value_bytes(v.value);
    }
    if (!c->all_locked) {
        l1_unlock(c->l1, shard);
    }
    return bytes;
}

static int by_size(const void *a, const void *b) {
    size_t x = ((const struct big_item *)a)->bytes, y = ((const struct big_item *)b)->bytes;
    return x < y ? 1 : x > y ? -1 : 0;
}

static enum err big_run(struct call *c) {
    int64_t count;
    enum err e = get_count(c, BIG_KEEP, &count);
    if (e != OK) {
        return e;
    }
    struct big *big = &c->host->sight->big;
    struct big_item items[BIG_KEEP];
    unsigned n = big_list(big, items, BIG_KEEP);
    int64_t shown = 0;
    bool slower = c->host->tier->source_count > 0;
    for (unsigned i = 0; i < n; i++) {
        size_t bytes = size_now(c, &items[i], &items[i].type);
        bool elsewhere = bytes == 0 && slower && logical_of(c, items[i].db) >= 0; /* perhaps on disk: kept, not shown */
        if (!elsewhere && bytes != items[i].bytes) {
            big_correct(big, items[i].hash, bytes);
        }
        items[i].bytes = bytes >= BIG_LEAST ? bytes : 0;
    }
    qsort(items, n, sizeof(*items), by_size);
    struct reply_deferred d = reply_defer(c->out, '*');
    for (unsigned i = 0; i < n && shown < count && items[i].bytes > 0; i++) {
        reply_map(c->out, 4);
        put(c, "key");
        reply_bulk(c->out, slice_make(items[i].name, items[i].name_n));
        put(c, "db");
        reply_int(c->out, logical_of(c, items[i].db));
        put(c, "type");
        put(c, value_type_name((enum value_type)items[i].type));
        put(c, "bytes");
        reply_int(c->out, (int64_t)items[i].bytes);
        shown++;
    }
    reply_defer_end(c->out, d, shown);
    big_items_free(items, n);
    return OK;
}

static enum err cache_help_run(struct call *c) {
    static const char *const lines[] = {
        "BIGKEYS [COUNT <n>]", "    Return the largest keys in memory that were written, largest first.",
        "EXPLAIN <key>", "    Return where the key is, how long it lives, and what the guards know of it.",
        "EXPORT <json|history|prometheus>", "    Return all statistics as one text: see docs/api.md.",
        "HOTKEYS [COUNT <n>]", "    Return the keys used most in the last minutes, from a sample.",
        "MRC [POLICY <pattern>]", "    Return the hit rates that tiers of other sizes would have.",
        "STATS [POLICY <pattern>]", "    Return what each tier, or one policy, has counted.", NULL};
    return call_reply_help(c, lines);
}

/* ---- HOTKEYS, Redis's form ---- */

enum { MAX_DURATION_S = 1000000, MAX_SAMPLE = 1000000 };

/* The number at argument i, from 1 to most. */
static enum err get_number(struct call *c, int i, const char *what, int64_t most, int64_t *out) {
    if (i >= c->argc) {
        return ERR_SYNTAX;
    }
    if (arg_i64(c, i, out) != OK || *out < 1 || *out > most) {
        return call_errorf(c, "ERR %s is 1 to %lld", what, (long long)most);
    }
    return OK;
}

/* METRICS n and so many of CPU and NET, at argument *i. */
static enum err get_metrics(struct call *c, int *i, struct hotkeys_order *o) {
    int64_t n;
    enum err e = get_number(c, *i + 1, "METRICS", HOT_METRICS, &n);
    if (e != OK) {
        return e;
    }
    *i += 2;
    for (int k = 0; k < n; k++, (*i)++) {
        enum hotkeys_metric m = arg_is(c, *i, "net") ? HOT_NET : HOT_CPU;
        if (!arg_is(c, *i, "cpu") && m != HOT_NET) {
            return call_errorf(c, "ERR METRICS is a count of metrics, and they: CPU, NET");
        }
        if (o->metric[m]) {
            return call_errorf(c, "ERR a metric is named twice");
        }
        o->metric[m] = true;
    }
    return OK;
}

static enum err get_slots(struct call *c, int *i, struct hotkeys_order *o) {
    int64_t n, slot;
    enum err e = get_number(c, *i + 1, "SLOTS", HOTKEYS_SLOTS, &n);
    *i += 2;
    o->by_slot = true;
    for (; e == OK && n > 0; n--, (*i)++) {
        if (*i >= c->argc) {
            return ERR_SYNTAX;
        }
        if (arg_i64(c, *i, &slot) != OK || slot < 0 || slot >= HOTKEYS_SLOTS) {
            return call_errorf(c, "ERR a slot is 0 to %d", HOTKEYS_SLOTS - 1);
        }
        o->slots[slot / 64] |= (uint64_t)1 << (slot % 64);
    }
    return e;
}

static enum err get_order(struct call *c, struct hotkeys_order *o) {
    int64_t n;
    enum err e = OK;
    for (int i = 2; e == OK && i < c->argc;) {
        if (arg_is(c, i, "metrics")) {
            e = get_metrics(c, &i, o);
        } else if (arg_is(c, i, "slots")) {
            e = get_slots(c, &i, o);
        } else if (arg_is(c, i, "count")) {
            e = get_number(c, i + 1, "COUNT", TOPK_KEEP, &n);
            o->count = e == OK ? (unsigned)n : 0;
            i += 2;
        } else if (arg_is(c, i, "duration")) {
            e = get_number(c, i + 1, "DURATION", MAX_DURATION_S, &n);
            o->duration_ms = e == OK ? n * 1000 : 0;
            i += 2;
        } else if (arg_is(c, i, "sample")) {
            e = get_number(c, i + 1, "SAMPLE", MAX_SAMPLE, &n);
            o->sample = e == OK ? (uint32_t)n : 1;
            i += 2;
        } else {
            e = ERR_SYNTAX;
        }
    }
    bool any = o->metric[HOT_CPU] || o->metric[HOT_NET];
    return e == OK && !any ? call_errorf(c, "ERR METRICS must name CPU, NET or both") : e;
}

static enum err hotkeys_start_run(struct call *c) {
    struct hotkeys_order o = {.count = 10, .sample = 1};
    enum err e = get_order(c, &o);
    if (e != OK) {
        return e;
    }
    if (!hotkeys_start(c->host->sight->tracking, &o, c->now_ms)) {
        return call_errorf(c, "ERR hotkeys tracking is already in progress; HOTKEYS STOP ends it");
    }
    reply_ok(c->out);
    return OK;
}

static enum err hotkeys_stop_run(struct call *c) {
    if (hotkeys_stop(c->host->sight->tracking, c->now_ms)) {
        reply_ok(c->out);
    } else {
        reply_null(c->out);
    }
    return OK;
}

static enum err hotkeys_reset_run(struct call *c) {
    if (!hotkeys_reset(c->host->sight->tracking)) {
        return call_errorf(c, "ERR hotkeys tracking is in progress; HOTKEYS STOP ends it");
    }
    reply_ok(c->out);
    return OK;
}

static void put_int(struct call *c, const char *name, uint64_t v, int64_t *pairs) {
    put(c, name);
    reply_int(c->out, (int64_t)v);
    ++*pairs;
}

/* [[first, last], ...]; a slot alone is [slot]. */
static void put_slots(struct call *c, const struct hotkeys_order *o) {
    struct reply_deferred d = reply_defer(c->out, '*');
    int64_t ranges = 0;
    for (int first = 0, last; first < HOTKEYS_SLOTS; first = last + 1) {
        last = first;
        if (o->by_slot && !(o->slots[first / 64] >> (first % 64) & 1)) {
            continue;
        }
        while (last + 1 < HOTKEYS_SLOTS && (!o->by_slot || (o->slots[(last + 1) / 64] >> ((last + 1) % 64) & 1))) {
            last++;
        }
        reply_array(c->out, last > first ? 2 : 1);
        reply_int(c->out, first);
        if (last > first) {
            reply_int(c->out, last);
        }
        ranges++;
    }
    reply_defer_end(c->out, d, ranges);
}

static void put_keys(struct call *c, const struct hotkeys_report *r, enum hotkeys_metric m, const char *name, int64_t *pairs) {
    if (!r->order.metric[m]) {
        return;
    }
    put(c, name);
    reply_array(c->out, 2 * (int64_t)r->n[m]);
    for (unsigned i = 0; i < r->n[m]; i++) {
        reply_bulk(c->out, slice_make(r->keys[m][i].name, r->keys[m][i].name_n));
        reply_int(c->out, (int64_t)r->keys[m][i].weight);
    }
    ++*pairs;
}

static enum err hotkeys_get_run(struct call *c) {
    struct hotkeys_report r;
    int64_t pairs = 3;
    if (!hotkeys_report(c->host->sight->tracking, c->now_ms, &r)) {
        reply_null(c->out);
        return OK;
    }
    const struct hotkeys_order *o = &r.order;
    bool sampled = o->by_slot && o->sample > 1;
    reply_array(c->out, 1);
    struct reply_deferred d = reply_defer(c->out, '%');
    put(c, "tracking-active");
    reply_int(c->out, r.active);
    put(c, "sample-ratio");
    reply_int(c->out, o->sample);
    put(c, "selected-slots");
    put_slots(c, o);
    if (sampled) {
        put_int(c, "sampled-commands-selected-slots-us", r.sampled[HOT_CPU], &pairs);
    }
    if (o->by_slot) {
        put_int(c, "all-commands-selected-slots-us", r.slots[HOT_CPU], &pairs);
    }
    put_int(c, "all-commands-all-slots-us", r.all[HOT_CPU], &pairs);
    if (sampled) {
        put_int(c, "net-bytes-sampled-commands-selected-slots", r.sampled[HOT_NET], &pairs);
    }
    if (o->by_slot) {
        put_int(c, "net-bytes-all-commands-selected-slots", r.slots[HOT_NET], &pairs);
    }
    put_int(c, "net-bytes-all-commands-all-slots", r.all[HOT_NET], &pairs);
    put_int(c, "collection-start-time-unix-ms", (uint64_t)r.started_ms, &pairs);
    put_int(c, "collection-duration-ms", (uint64_t)r.took_ms, &pairs);
    if (o->metric[HOT_CPU]) {
        put_int(c, "total-cpu-time-user-ms", r.user_ms, &pairs);
        put_int(c, "total-cpu-time-sys-ms", r.sys_ms, &pairs);
    }
    if (o->metric[HOT_NET]) {
        put_int(c, "total-net-bytes", r.all[HOT_NET], &pairs);
    }
    put_keys(c, &r, HOT_CPU, "by-cpu-time-us", &pairs);
    put_keys(c, &r, HOT_NET, "by-net-bytes", &pairs);
    reply_defer_end(c->out, d, pairs);
    hotkeys_report_free(&r);
    return OK;
}

static enum err hotkeys_help_run(struct call *c) {
    static const char *const lines[] = {
        "START METRICS <count> [CPU] [NET] [COUNT <k>] [DURATION <seconds>] [SAMPLE <ratio>] [SLOTS <count> <slot> ...]", "    Begin to charge calls to their keys.",
        "STOP", "    End it; what was found stays.",
        "GET", "    Return what was found.",
        "RESET", "    Forget it.", NULL};
    return call_reply_help(c, lines);
}

#define ADM (CMD_ADMIN | CMD_NOSCRIPT | CMD_DANGEROUS)
#define TELLS (CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_DANGEROUS)

static const struct command cache_subs[] = {
    {.name = "bigkeys", .syntax = "[COUNT n]", .arity = -2, .flags = CMD_NOSCRIPT | CMD_DANGEROUS | CMD_WHOLE, .run = big_run, .since = "7.2.0", .cost = "O(1): at most 128 keys are known", .summary = "Returns the largest keys in memory that were written."},
    {.name = "explain", .syntax = "key", .arity = 3, .keys = "2:N", .flags = CMD_NOSCRIPT | CMD_DANGEROUS, .run = cache_explain_run, .since = "7.2.0", .cost = "O(1)", .summary = "Tells where a key is, how long it lives, and what the guards know of it."},
    {.name = "export", .syntax = "form", .arity = 3, .flags = ADM | CMD_NO_MULTI, .run = cache_export_run, .since = "7.2.0", .cost = "O(N) for N commands and policies", .summary = "Returns all statistics as one text."},
    {.name = "help", .syntax = "", .arity = 2, .flags = CMD_LOADING | CMD_STALE, .run = cache_help_run, .since = "7.2.0", .cost = "O(1)", .summary = "Lists the subcommands."},
    {.name = "hotkeys", .syntax = "[COUNT n]", .arity = -2, .flags = TELLS, .run = hot_run, .since = "7.2.0", .cost = "O(1): at most 64 keys are known", .summary = "Returns the keys used most in the last minutes."},
    {.name = "mrc", .syntax = "[POLICY pattern]", .arity = -2, .flags = TELLS, .run = mrc_run, .since = "7.2.0", .cost = "O(1)", .summary = "Returns the hit rates that tiers of other sizes would have."},
    {.name = "stats", .syntax = "[POLICY pattern]", .arity = -2, .flags = ADM, .run = cache_stats_run, .since = "7.2.0", .cost = "O(N) for N commands", .summary = "Returns what each tier, or one policy, has counted."},
    {0}};

static const struct command hotkeys_subs[] = {
    {.name = "get", .syntax = "", .arity = 2, .flags = ADM, .run = hotkeys_get_run, .since = "8.6.0", .cost = "O(K) for K keys reported", .summary = "Returns the keys that took most time or bytes while they were tracked."},
    {.name = "help", .syntax = "", .arity = 2, .flags = CMD_LOADING | CMD_STALE, .run = hotkeys_help_run, .since = "8.6.0", .cost = "O(1)", .summary = "Lists the subcommands."},
    {.name = "reset", .syntax = "", .arity = 2, .flags = ADM, .run = hotkeys_reset_run, .since = "8.6.0", .cost = "O(1)", .summary = "Forgets what tracking has found."},
    {.name = "start", .syntax = "METRICS count [CPU] [NET] [COUNT k] [DURATION seconds] [SAMPLE ratio] [SLOTS count slot [slot ...]]", .arity = -2, .flags = ADM, .run = hotkeys_start_run, .since = "8.6.0", .cost = "O(1)", .summary = "Begins to track which keys take most time or bytes."},
    {.name = "stop", .syntax = "", .arity = 2, .flags = ADM, .run = hotkeys_stop_run, .since = "8.6.0", .cost = "O(1)", .summary = "Ends the tracking of keys."},
    {0}};

const struct command cache_commands[] = {
    {.name = "cache", .syntax = "subcommand [argument ...]", .arity = -2, .sub = cache_subs, .flags = 0, .since = "7.2.0",
     .cost = "Depends on the subcommand.", .summary = "Tells what the cache knows of itself."},
    {.name = "hotkeys", .syntax = "subcommand [argument ...]", .arity = -2, .sub = hotkeys_subs, .flags = 0, .since = "8.6.0",
     .cost = "Depends on the subcommand.", .summary = "Tracks which keys take most time or bytes."},
    {0}};
