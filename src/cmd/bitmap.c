/* SPDX-License-Identifier: BSD-3-Clause */
/* bitmap: commands on the bits of strings. BITFIELD is in bitfield.c. */
#include "src/cmd/bitmap.h"

#include "src/base/mem.h"
#include "src/cmd/call.h"

enum err arg_bit_offset(struct call *c, int i, bool hash, int bits, uint64_t *offset) {
    struct slice s = c->argv[i];
    bool by_width = hash && s.n > 0 && s.p[0] == '#';
    int64_t v;
    if (!num_parse_i64(by_width ? slice_make(s.p + 1, s.n - 1) : s, &v) || v < 0 ||
        (by_width && __builtin_mul_overflow(v, (int64_t)bits, &v)) || (v >> 3) >= c->conf->proto_max_bulk_len) {
        return call_errorf(c, "ERR bit offset is not an integer or out of range");
    }
    *offset = (uint64_t)v;
    return OK;
}

static enum err setbit_run(struct call *c) {
    uint64_t offset = 0;
    int64_t on;
    struct item_view v;
    enum err e = arg_bit_offset(c, 2, false, 0, &offset);
    if (e != OK) {
        return e;
    }
    if (!num_parse_i64(c->argv[3], &on) || (on & ~(int64_t)1) != 0) {
        return call_errorf(c, "ERR bit is not an integer or out of range");
    }
    e = call_get_type(c, 0, TYPE_STRING, &v);
    if (e != OK) {
        return e;
    }
    size_t byte = (size_t)(offset >> 3);
    unsigned bit = 7 - (unsigned)(offset & 7), old = 0;
    if (byte < v.str.n) {
        old = ((unsigned char)v.str.p[byte] >> bit) & 1;
        if (old == (unsigned)on) { /* no change */
            call_string_raw(c, 0);
            reply_int(c->out, old);
            return OK;
        }
    }
    char *p;
    e = call_string_mut(c, 0, v.str.n > byte ? v.str.n : byte + 1, &p);
    if (e != OK) {
        return e;
    }
    p[byte] = (char)(((unsigned char)p[byte] & ~(1u << bit)) | ((unsigned)on << bit));
    reply_int(c->out, old);
    return OK;
}

static enum err getbit_run(struct call *c) {
    uint64_t offset = 0;
    struct item_view v;
    enum err e = arg_bit_offset(c, 2, false, 0, &offset);
    if (e != OK || (e = call_get_type(c, 0, TYPE_STRING, &v)) != OK) {
        return e;
    }
    size_t byte = (size_t)(offset >> 3);
    reply_int(c->out, byte < v.str.n ? ((unsigned char)v.str.p[byte] >> (7 - (offset & 7))) & 1 : 0);
    return OK;
}

/* ---- ranges of bits ---- */

static uint64_t load64(const char *p) {
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

static int64_t count_bits(const char *p, size_t n) {
    int64_t sum = 0;
    for (; n >= 8; p += 8, n -= 8) {
        sum += __builtin_popcountll(load64(p));
    }
    for (; n > 0; p++, n--) {
        sum += __builtin_popcount((unsigned char)*p);
    }
    return sum;
}

/* First bit equal to `bit` in the bytes, or -1. */
static int64_t find_bit(const char *p, size_t n, int bit) {
    const char *start = p;
    uint64_t skip64 = bit ? 0 : UINT64_MAX;
    while (n >= 8 && load64(p) == skip64) {
        p += 8;
        n -= 8;
    }
    for (; n > 0; p++, n--) {
        unsigned byte = bit ? (unsigned char)*p : (unsigned char)~*p;
        if (byte != 0) {
            return (p - start) * 8 + __builtin_clz(byte) - 24;
        }
    }
    return -1;
}

/* start and end of BITCOUNT and BITPOS made absolute within total; false when nothing is left. */
static bool clip_range(int64_t *start, int64_t *end, int64_t total) {
    if (*start < 0 && *end < 0 && *start > *end) {
        return false;
    }
    *start = *start < 0 ? *start + total : *start;
    *end = *end < 0 ? *end + total : *end;
    *start = *start < 0 ? 0 : *start;
    *end = *end < 0 ? 0 : *end >= total ? total - 1 : *end;
    return *start <= *end;
}

static enum err arg_unit(struct call *c, int i, bool *bits) {
    *bits = arg_is(c, i, "bit");
    return *bits || arg_is(c, i, "byte") ? OK : ERR_SYNTAX;
}

static enum err bitcount_run(struct call *c) {
    struct item_view v;
    int64_t start = 0, end = -1;
    bool bits = false;
    if (c->argc == 3 || c->argc > 5) {
        return ERR_SYNTAX;
    }
    if (c->argc >= 4 && (arg_i64(c, 2, &start) != OK || arg_i64(c, 3, &end) != OK)) {
        return ERR_NOT_INT;
    }
    if (c->argc == 5 && arg_unit(c, 4, &bits) != OK) {
        return ERR_SYNTAX;
    }
    enum err e = call_get_type(c, 0, TYPE_STRING, &v);
    if (e != OK) {
        return e;
    }
    int64_t total = (int64_t)v.str.n * (bits ? 8 : 1);
    if (total == 0 || !clip_range(&start, &end, total)) {
        reply_int(c->out, 0);
        return OK;
    }
    int64_t first = bits ? start >> 3 : start, last = bits ? end >> 3 : end;
    int64_t n = count_bits(v.str.p + first, (size_t)(last - first + 1));
    if (bits) { /* what was counted too much in the first and the last byte */
        unsigned head = (unsigned char)v.str.p[first] & ~(0xFFu >> (start & 7));
        unsigned tail = (unsigned char)v.str.p[last] & (0xFFu >> ((end & 7) + 1));
        n -= __builtin_popcount(head & 0xFF) + __builtin_popcount(tail);
    }
    reply_int(c->out, n);
    return OK;
}

/* BITPOS within whole bits: the ends of the range may lie inside bytes. */
static int64_t find_in_bits(struct slice s, int64_t start, int64_t end, int bit) {
    for (; start <= end && (start & 7) != 0; start++) {
        if ((((unsigned char)s.p[start >> 3] >> (7 - (start & 7))) & 1) == (unsigned)bit) {
            return start;
        }
    }
    int64_t whole = (end + 1 - start) / 8;
    if (whole > 0) {
        int64_t at = find_bit(s.p + (start >> 3), (size_t)whole, bit);
        if (at >= 0) {
            return start + at;
        }
        start += whole * 8;
    }
    for (; start <= end; start++) {
        if ((((unsigned char)s.p[start >> 3] >> (7 - (start & 7))) & 1) == (unsigned)bit) {
            return start;
        }
    }
    return -1;
}

static enum err bitpos_run(struct call *c) {
    struct item_view v;
    int64_t bit, start = 0, end = -1;
    bool bits = false, end_given = c->argc >= 5;
    if (arg_i64(c, 2, &bit) != OK) {
        return ERR_NOT_INT;
    }
    if (bit != 0 && bit != 1) {
        return call_errorf(c, "ERR The bit argument must be 1 or 0.");
    }
    if (c->argc > 6) {
        return ERR_SYNTAX;
    }
    if ((c->argc >= 4 && arg_i64(c, 3, &start) != OK)) {
        return ERR_NOT_INT;
    }
    if (c->argc == 6 && arg_unit(c, 5, &bits) != OK) {
        return ERR_SYNTAX;
    }
    if (end_given && arg_i64(c, 4, &end) != OK) {
        return ERR_NOT_INT;
    }
    enum err e = call_get_type(c, 0, TYPE_STRING, &v);
    if (e != OK) {
        return e;
    }
    if (v.type == TYPE_NONE) {
        reply_int(c->out, bit ? -1 : 0);
        return OK;
    }
    int64_t total = (int64_t)v.str.n * (bits ? 8 : 1);
    start = start < 0 ? start + total : start;
    end = end < 0 ? end + total : end;
    start = start < 0 ? 0 : start;
    end = end < 0 ? 0 : end;
    end = end >= total ? total - 1 : end;
    if (start > end) {
        reply_int(c->out, -1);
        return OK;
    }
    int64_t first = bits ? start : start * 8, last = bits ? end : end * 8 + 7;
    int64_t at = find_in_bits(v.str, first, last, (int)bit);
    if (at < 0 && !bit && !end_given) {
        at = (int64_t)v.str.n * 8; /* a string is followed by zeros without end */
    }
    reply_int(c->out, at);
    return OK;
}

/* ---- BITOP ---- */

enum bit_op { OP_AND, OP_OR, OP_XOR, OP_NOT };

static inline uint64_t combined(enum bit_op op, uint64_t a, uint64_t b) {
    return op == OP_AND ? a & b : op == OP_OR ? a | b : op == OP_XOR ? a ^ b : ~b;
}

/* Eight bytes a step; from ends in zeros. */
static void combine(enum bit_op op, unsigned char *to, struct slice from, size_t len) {
    size_t i = 0;
    for (; i + 8 <= from.n; i += 8) {
        uint64_t a, b;
        memcpy(&a, to + i, 8);
        memcpy(&b, from.p + i, 8);
        a = combined(op, a, b);
        memcpy(to + i, &a, 8);
    }
    for (; i < len; i++) {
        to[i] = (unsigned char)combined(op, to[i], i < from.n ? (unsigned char)from.p[i] : 0);
    }
}

static enum err bitop_run(struct call *c) {
    static const char *const names[] = {"and", "or", "xor", "not"};
    int op = -1;
    for (int i = 0; i < 4; i++) {
        op = arg_is(c, 1, names[i]) ? i : op;
    }
    if (op < 0) {
        return ERR_SYNTAX;
    }
    int sources = c->nkeys - 1;
    if (op == OP_NOT && sources != 1) {
        return call_errorf(c, "ERR BITOP NOT must be called with a single source key.");
    }
    struct slice *from = arena_alloc(c->arena, (size_t)sources * sizeof(*from));
    size_t len = 0;
    for (int i = 0; i < sources; i++) {
        struct item_view v;
        enum err e = call_get_type(c, i + 1, TYPE_STRING, &v);
        if (e != OK) {
            return e;
        }
        from[i] = v.str;
        len = v.str.n > len ? v.str.n : len;
    }
    if (len == 0) {
        call_del(c, 0);
        reply_int(c->out, 0);
        return OK;
    }
    unsigned char *result = mem_try_alloc(len);
    if (result == NULL) {
        return ERR_OUT_OF_MEMORY;
    }
    memset(result, 0, len);
    memcpy(result, from[0].p, from[0].n);
    for (int i = op == OP_NOT ? 0 : 1; i < sources; i++) {
        combine((enum bit_op)op, result, from[i], len);
    }
    enum err e = call_set(c, 0, slice_make(result, len), L1_NO_TTL, L1_RAW);
    mem_free(result);
    if (e == OK) {
        reply_int(c->out, (int64_t)len);
    }
    return e;
}

#define WR (CMD_WRITE | CMD_DENYOOM)

const struct command bitmap_commands[] = {
    {.name = "bitcount", .syntax = "key [start end [BYTE | BIT]]", .arity = -2, .keys = "1:R", .flags = CMD_READONLY | CMD_NEAR, .run = bitcount_run,
     .since = "2.6.0", .cost = "O(N) for N bytes", .summary = "Counts the bits that are set."},
    {.name = "bitfield", .syntax = "key [GET encoding offset | [OVERFLOW WRAP | SAT | FAIL] SET encoding offset value | INCRBY encoding offset increment]",
     .arity = -2, .keys = "1:RW", .flags = WR, .run = bitfield_run, .since = "3.2.0", .cost = "O(1) for each operation",
     .summary = "Reads and changes integers of any width within a string."},
    {.name = "bitfield_ro", .syntax = "key [GET encoding offset [GET encoding offset ...]]", .arity = -2, .keys = "1:R",
     .flags = CMD_READONLY | CMD_NEAR | CMD_FAST, .run = bitfield_ro_run, .since = "6.0.0", .cost = "O(1) for each operation",
     .summary = "Reads integers of any width within a string."},
    {.name = "bitop", .syntax = "AND | OR | XOR | NOT destkey key [key ...]", .arity = -4, .keys = "2:W 3..-1:R", .flags = WR, .run = bitop_run,
     .since = "2.6.0", .cost = "O(N) for N bytes", .summary = "Combines strings bit by bit."},
    {.name = "bitpos", .syntax = "key bit [start [end [BYTE | BIT]]]", .arity = -3, .keys = "1:R", .flags = CMD_READONLY | CMD_NEAR, .run = bitpos_run,
     .since = "2.8.7", .cost = "O(N) for N bytes", .summary = "Finds the first bit that is set, or not."},
    {.name = "getbit", .syntax = "key offset", .arity = 3, .keys = "1:R", .flags = CMD_READONLY | CMD_NEAR | CMD_FAST, .run = getbit_run, .since = "2.2.0",
     .cost = "O(1)", .summary = "Returns a bit."},
    {.name = "setbit", .syntax = "key offset value", .arity = 4, .keys = "1:RW", .flags = WR | CMD_REPEATABLE, .run = setbit_run, .since = "2.2.0",
     .cost = "O(1)", .summary = "Sets a bit and returns the one before."},
    {0}};
