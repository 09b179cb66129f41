/* SPDX-License-Identifier: BSD-3-Clause */
/* bloom: commands on Bloom filters, as of RedisBloom 2.6. A filter with its future growth is bounded by proto-max-bulk-len and
 * maxmemory. */
#include "src/ds/bloom.h"

#include "src/cmd/call.h"

enum { DEFAULT_CAPACITY = 100, DEFAULT_EXPANSION = 2 };
#define DEFAULT_ERROR 0.01

/* What a filter is created with, when there is none. */
struct plan {
    double error;
    int64_t capacity, expansion;
    bool fixed, refuse; /* NONSCALING, NOCREATE */
};

static const struct plan default_plan = {.error = DEFAULT_ERROR, .capacity = DEFAULT_CAPACITY, .expansion = DEFAULT_EXPANSION};

static size_t max_bytes(const struct call *c) {
    int64_t most = c->conf->proto_max_bulk_len, memory = c->conf->maxmemory;
    return (size_t)(memory > 0 && memory < most ? memory : most);
}

/* ---- creating ---- */

static enum err create(struct call *c, const struct plan *p, struct bloom **out) {
    *out = bloom_create(p->error, (uint64_t)p->capacity, p->fixed ? 0 : (uint32_t)p->expansion, max_bytes(c));
    if (*out == NULL) {
        return call_errorf(c, "ERR Insufficient memory to create filter");
    }
    return call_set_value(c, 0, value_of_bloom(*out), L1_NO_TTL);
}

static enum err reserve_parse(struct call *c, struct plan *p) {
    bool expands = false;
    if (!num_parse_double(c->argv[2], &p->error)) {
        return call_errorf(c, "ERR bad error rate");
    }
    if (!(p->error > 0 && p->error < 1)) {
        return call_errorf(c, "ERR (0 < error rate range < 1) ");
    }
    if (arg_i64(c, 3, &p->capacity) != OK) {
        return call_errorf(c, "ERR bad capacity");
    }
    if (p->capacity <= 0) {
        return call_errorf(c, "ERR (capacity should be larger than 0)");
    }
    for (int i = 4; i < c->argc; i++) {
        if (arg_is(c, i, "nonscaling")) {
            p->fixed = true;
        } else if (!arg_is(c, i, "expansion")) {
            return ERR_SYNTAX;
        } else if (++i == c->argc) {
            return call_errorf(c, "ERR no expansion");
        } else if (arg_i64(c, i, &p->expansion) != OK || p->expansion > BLOOM_MAX_EXPANSION) {
            return call_errorf(c, "ERR bad expansion");
        } else {
            expands = true;
        }
    }
    if (expands && p->fixed) {
        return call_errorf(c, "Nonscaling filters cannot expand");
    }
    return p->expansion >= 1 ? OK : call_errorf(c, "ERR expansion should be greater or equal to 1");
}

static enum err bf_reserve_run(struct call *c) {
    struct plan p = default_plan;
    struct bloom *b;
    struct item_view v;
    enum err e = c->argc > 7 ? call_arity_error(c) : reserve_parse(c, &p);
    if (e == OK) {
        e = call_get_type(c, 0, TYPE_BLOOM, &v);
    }
    if (e == OK && v.type != TYPE_NONE) {
        return call_errorf(c, "ERR item exists");
    }
    if (e == OK) {
        e = create(c, &p, &b);
    }
    if (e == OK) {
        reply_ok(c->out);
    }
    return e;
}

/* ---- adding ---- */

/* The reply for one item. Not OK: the call's, or the last of its array. */
static enum err add_one(struct call *c, struct bloom *b, struct slice item) {
    switch (bloom_add(b, item, max_bytes(c))) {
    case BLOOM_OLD:
        reply_bool(c->out, false);
        break;
    case BLOOM_NEW:
        reply_bool(c->out, true);
        break;
    case BLOOM_FULL:
        return call_errorf(c, "ERR non scaling filter is full");
    case BLOOM_NO_MEMORY:
        return call_errorf(c, "ERR problem inserting into filter");
    }
    return OK;
}

static bool would_change(const struct bloom *b, const struct slice *items, int n) {
    for (int i = 0; i < n; i++) {
        if (!bloom_exists(b, items[i])) {
            return !bloom_is_full(b);
        }
    }
    return false;
}

/* The items from argument `first` on. many: the reply is an array, which ends at the first error. */
static enum err insert(struct call *c, const struct plan *p, int first, bool many) {
    struct item_view v;
    struct bloom *b = NULL;
    enum err e = call_get_type(c, 0, TYPE_BLOOM, &v);
    if (e == OK && v.type == TYPE_NONE) {
        e = p->refuse ? call_errorf(c, "ERR not found") : create(c, p, &b);
    } else if (e == OK) {
        b = v.value->u.bloom;
    }
    if (e != OK) {
        return e;
    }
    bool change = would_change(b, c->argv + first, c->argc - first);
    if (change) {
        call_value_mut(c, 0); /* the same: changed in place */
    }
    struct reply_deferred d = {0};
    if (many) {
        d = reply_defer(c->out, '*');
    }
    int n = 0;
    while (first + n < c->argc && e == OK) {
        e = add_one(c, b, c->argv[first + n++]);
    }
    if (change) {
        call_value_changed(c, 0);
    }
    if (many) {
        reply_defer_end(c->out, d, n);
        return OK;
    }
    return e;
}

static enum err bf_add_run(struct call *c) {
    return insert(c, &default_plan, 2, false);
}

static enum err bf_madd_run(struct call *c) {
    return insert(c, &default_plan, 2, true);
}

/* *items: where they begin. */
static enum err insert_parse(struct call *c, struct plan *p, int *items) {
    for (int i = 2; i < c->argc; i++) {
        bool error = arg_is(c, i, "error"), capacity = arg_is(c, i, "capacity"), expansion = arg_is(c, i, "expansion");
        if (arg_is(c, i, "items") && i + 1 < c->argc) {
            *items = i + 1;
            bool bad = !(p->error > 0 && p->error < 1) || p->capacity < 1 || p->expansion < 1 || p->expansion > BLOOM_MAX_EXPANSION;
            return bad ? call_errorf(c, "Bad argument received") : OK;
        }
        if (arg_is(c, i, "nocreate")) {
            p->refuse = true;
        } else if (arg_is(c, i, "nonscaling")) {
            p->fixed = true;
        } else if (!error && !capacity && !expansion && !arg_is(c, i, "items")) {
            return call_errorf(c, "Unknown argument received");
        } else if (++i == c->argc) {
            break;
        } else if (error && !num_parse_double(c->argv[i], &p->error)) {
            return call_errorf(c, "Bad error rate");
        } else if (capacity && arg_i64(c, i, &p->capacity) != OK) {
            return call_errorf(c, "Bad capacity");
        } else if (expansion && arg_i64(c, i, &p->expansion) != OK) {
            return call_errorf(c, "Bad expansion");
        }
    }
    return call_arity_error(c);
}

static enum err bf_insert_run(struct call *c) {
    struct plan p = default_plan;
    int items = 0;
    enum err e = insert_parse(c, &p, &items);
    return e == OK ? insert(c, &p, items, true) : e;
}

/* ---- asking ---- */

static enum err bf_exists_run(struct call *c) {
    struct item_view v;
    enum err e = call_get_type(c, 0, TYPE_BLOOM, &v);
    if (e == OK) {
        reply_bool(c->out, v.type != TYPE_NONE && bloom_exists(v.value->u.bloom, c->argv[2]));
    }
    return e;
}

static enum err bf_mexists_run(struct call *c) {
    struct item_view v;
    enum err e = call_get_type(c, 0, TYPE_BLOOM, &v);
    if (e != OK) {
        return e;
    }
    reply_array(c->out, c->argc - 2);
    for (int i = 2; i < c->argc; i++) {
        reply_bool(c->out, v.type != TYPE_NONE && bloom_exists(v.value->u.bloom, c->argv[i]));
    }
    return OK;
}

static enum err bf_card_run(struct call *c) {
    struct item_view v;
    enum err e = call_get_type(c, 0, TYPE_BLOOM, &v);
    if (e == OK) {
        reply_int(c->out, v.type == TYPE_NONE ? 0 : (int64_t)bloom_items(v.value->u.bloom));
    }
    return e;
}

enum { INFO_CAPACITY, INFO_SIZE, INFO_FILTERS, INFO_ITEMS, INFO_EXPANSION, INFO_COUNT };

static const struct {
    const char *word, *name;
} infos[INFO_COUNT] = {[INFO_CAPACITY] = {"capacity", "Capacity"},
                       [INFO_SIZE] = {"size", "Size"},
                       [INFO_FILTERS] = {"filters", "Number of filters"},
                       [INFO_ITEMS] = {"items", "Number of items inserted"},
                       [INFO_EXPANSION] = {"expansion", "Expansion rate"}};

static void reply_info(struct out *o, const struct value *v, int which) {
    const struct bloom *b = v->u.bloom;
    switch (which) {
    case INFO_CAPACITY:
        reply_int(o, (int64_t)bloom_capacity(b));
        break;
    case INFO_SIZE:
        reply_int(o, (int64_t)value_bytes(v));
        break;
    case INFO_FILTERS:
        reply_int(o, (int64_t)value_len(v));
        break;
    case INFO_ITEMS:
        reply_int(o, (int64_t)bloom_items(b));
        break;
    default:
        if (b->expansion == 0) {
            reply_null(o);
        } else {
            reply_int(o, b->expansion);
        }
        break;
    }
}

/* One field of RESP2 comes without its name. */
static enum err reply_one_info(struct call *c, const struct value *v) {
    for (int i = 0; i < INFO_COUNT; i++) {
        if (arg_is(c, 2, infos[i].word)) {
            if (c->out->proto == 2) {
                reply_array(c->out, 1);
            } else {
                reply_map(c->out, 1);
                reply_status(c->out, infos[i].name);
            }
            reply_info(c->out, v, i);
            return OK;
        }
    }
    return call_errorf(c, "Invalid information value");
}

static enum err bf_info_run(struct call *c) {
    struct item_view v;
    enum err e = c->argc > 3 ? call_arity_error(c) : call_get_type(c, 0, TYPE_BLOOM, &v);
    if (e != OK) {
        return e;
    }
    if (v.type == TYPE_NONE) {
        return call_errorf(c, "ERR not found");
    }
    if (c->argc == 3) {
        return reply_one_info(c, v.value);
    }
    reply_map(c->out, INFO_COUNT);
    for (int i = 0; i < INFO_COUNT; i++) {
        reply_status(c->out, infos[i].name);
        reply_info(c->out, v.value, i);
    }
    return OK;
}

#define WR (CMD_WRITE | CMD_DENYOOM)
#define RD (CMD_READONLY | CMD_FAST)
#define ROW(nm, args, n, access, fl, fn, ver, big_o, text) \
    {.name = nm, .syntax = args, .arity = n, .keys = access, .flags = fl, .run = fn, .since = ver, .cost = big_o, .summary = text}

const struct command bloom_commands[] = {
    ROW("bf.add", "key item", 3, "1:RW", WR, bf_add_run, "1.0.0", "O(1) for each layer", "Adds an item to a Bloom filter."),
    ROW("bf.card", "key", 2, "1:R", RD | CMD_NEAR, bf_card_run, "2.4.4", "O(1)", "Counts the items that were added to a Bloom filter."),
    ROW("bf.exists", "key item", 3, "1:R", RD | CMD_NEAR, bf_exists_run, "1.0.0", "O(1) for each layer", "Tells whether an item was added, perhaps, or never."),
    ROW("bf.info", "key [CAPACITY | SIZE | FILTERS | ITEMS | EXPANSION]", -2, "1:R", RD | CMD_NEAR, bf_info_run, "1.0.0", "O(1)", "Describes a Bloom filter."),
    ROW("bf.insert", "key [CAPACITY capacity] [ERROR error-rate] [EXPANSION expansion] [NOCREATE] [NONSCALING] ITEMS item [item ...]", -4, "1:RW", WR,
        bf_insert_run, "1.0.0", "O(N) for N items", "Adds items to a Bloom filter, and says how it is made when there is none."),
    ROW("bf.madd", "key item [item ...]", -3, "1:RW", WR, bf_madd_run, "1.0.0", "O(N) for N items", "Adds items to a Bloom filter."),
    ROW("bf.mexists", "key item [item ...]", -3, "1:R", RD | CMD_NEAR, bf_mexists_run, "1.0.0", "O(N) for N items", "Tells of each item whether it was added, perhaps, or never."),
    ROW("bf.reserve", "key error-rate capacity [EXPANSION expansion | NONSCALING]", -4, "1:RW", WR, bf_reserve_run, "1.0.0", "O(1)", "Makes an empty Bloom filter."),
    {0}};
