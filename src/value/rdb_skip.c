/* SPDX-License-Identifier: BSD-3-Clause */
/* rdb_skip: values of types that cannot be kept here, passed over by their structure: nothing in a file says how long a value is. */
#include "src/value/rdb.h"
#include "src/value/type_bloom.h"

enum {
    T_LIST = 1, T_SET = 2, T_ZSET = 3, T_ZSET_2 = 5, T_MODULE_2 = 7, T_LIST_ZIPLIST = 10, T_SET_INTSET = 11, T_ZSET_ZIPLIST = 12,
    T_LIST_QUICKLIST = 14, T_STREAM = 15, T_ZSET_LISTPACK = 17, T_LIST_QUICKLIST_2 = 18, T_STREAM_2 = 19, T_SET_LISTPACK = 20,
    T_STREAM_3 = 21
};
enum { STREAM_ID_BYTES = 16, TIME_BYTES = 8 };

static bool fail(struct rdb_reader *r, const char *why) {
    r->error = why;
    return false;
}

const char *rdb_foreign_type(const struct rdb_reader *r, uint8_t type) {
    switch (type) {
    case T_LIST: case T_LIST_ZIPLIST: case T_LIST_QUICKLIST: case T_LIST_QUICKLIST_2:
        return "list";
    case T_SET: case T_SET_INTSET: case T_SET_LISTPACK:
        return "set";
    case T_ZSET: case T_ZSET_2: case T_ZSET_ZIPLIST: case T_ZSET_LISTPACK:
        return "sorted set";
    case T_STREAM: case T_STREAM_2: case T_STREAM_3:
        return "stream";
    case T_MODULE_2:
        return bloom_is_next(r) ? NULL : "module value";
    default:
        return NULL;
    }
}

static bool skip_bytes(struct rdb_reader *r, uint64_t n) {
    uint64_t left = (uint64_t)(r->end - r->p);
    if (n > left) {
        r->missing = n - left;
        return fail(r, "truncated");
    }
    r->p += n;
    return true;
}

static bool get_count(struct rdb_reader *r, uint64_t *n) {
    bool special;
    return rdb_get_len(r, n, &special) && (!special || fail(r, "bad length"));
}

static bool skip_counts(struct rdb_reader *r, int times) {
    uint64_t n;
    bool ok = true;
    for (; ok && times > 0; times--) {
        ok = get_count(r, &n);
    }
    return ok;
}

static bool skip_string(struct rdb_reader *r) {
    enum { INT32 = 2, LZF = 3 };
    uint64_t n, packed;
    bool special;
    if (!rdb_get_len(r, &n, &special)) {
        return false;
    }
    if (!special) {
        return skip_bytes(r, n);
    }
    if (n <= INT32) {
        return skip_bytes(r, (uint64_t)1 << n);
    }
    return n == LZF ? get_count(r, &packed) && get_count(r, &n) && skip_bytes(r, packed) : fail(r, "unknown string form");
}

/* A score as text: its length, or one of three values that stand for infinities and no number. */
static bool skip_score(struct rdb_reader *r) {
    enum { SPECIAL = 253 };
    uint8_t n;
    return rdb_get_byte(r, &n) && skip_bytes(r, n >= SPECIAL ? 0 : n);
}

static bool skip_element(struct rdb_reader *r, uint8_t type) {
    switch (type) {
    case T_ZSET:
        return skip_string(r) && skip_score(r);
    case T_ZSET_2:
        return skip_string(r) && skip_bytes(r, sizeof(double));
    case T_LIST_QUICKLIST_2:
        return skip_counts(r, 1) && skip_string(r);
    default:
        return skip_string(r);
    }
}

static bool skip_elements(struct rdb_reader *r, uint8_t type) {
    uint64_t n;
    bool ok = get_count(r, &n);
    for (; ok && n > 0; n--) {
        ok = skip_element(r, type);
    }
    return ok;
}

/* ---- streams ---- */

static bool skip_consumers(struct rdb_reader *r, uint8_t type) {
    uint64_t n, pending;
    bool ok = get_count(r, &n);
    for (; ok && n > 0; n--) {
        ok = skip_string(r) && skip_bytes(r, type >= T_STREAM_3 ? 2 * TIME_BYTES : TIME_BYTES) && get_count(r, &pending);
        for (; ok && pending > 0; pending--) {
            ok = skip_bytes(r, STREAM_ID_BYTES);
        }
    }
    return ok;
}

static bool skip_group(struct rdb_reader *r, uint8_t type) {
    uint64_t pending;
    bool ok = skip_string(r) && skip_counts(r, type >= T_STREAM_2 ? 3 : 2) && get_count(r, &pending);
    for (; ok && pending > 0; pending--) {
        ok = skip_bytes(r, STREAM_ID_BYTES + TIME_BYTES) && skip_counts(r, 1);
    }
    return ok && skip_consumers(r, type);
}

static bool skip_stream(struct rdb_reader *r, uint8_t type) {
    uint64_t n;
    bool ok = get_count(r, &n);
    for (; ok && n > 0; n--) {
        ok = skip_string(r) && skip_string(r);
    }
    ok = ok && skip_counts(r, type >= T_STREAM_2 ? 8 : 3) && get_count(r, &n);
    for (; ok && n > 0; n--) {
        ok = skip_group(r, type);
    }
    return ok;
}

/* ---- modules ---- */

/* A module's own data: an opcode before each item, so that others can pass over it. */
static bool skip_module_items(struct rdb_reader *r) {
    enum { END = 0, SINT = 1, UINT = 2, FLOAT = 3, DOUBLE = 4, STRING = 5 };
    for (;;) {
        uint64_t op;
        bool ok = get_count(r, &op);
        if (!ok || op == END) {
            return ok;
        }
        ok = op == SINT || op == UINT ? skip_counts(r, 1)
             : op == FLOAT            ? skip_bytes(r, sizeof(float))
             : op == DOUBLE           ? skip_bytes(r, sizeof(double))
             : op == STRING           ? skip_string(r)
                                      : fail(r, "unknown module data");
        if (!ok) {
            return false;
        }
    }
}

bool rdb_skip_module_aux(struct rdb_reader *r) {
    return skip_counts(r, 3) && skip_module_items(r); /* which module, and when it wants it */
}

bool rdb_skip_value(struct rdb_reader *r, uint8_t type) {
    switch (type) {
    case T_LIST: case T_SET: case T_ZSET: case T_ZSET_2: case T_LIST_QUICKLIST: case T_LIST_QUICKLIST_2:
        return skip_elements(r, type);
    case T_STREAM: case T_STREAM_2: case T_STREAM_3:
        return skip_stream(r, type);
    case T_MODULE_2:
        return skip_counts(r, 1) && skip_module_items(r);
    default:
        return rdb_foreign_type(r, type) != NULL ? skip_string(r) : fail(r, "unknown value type");
    }
}
