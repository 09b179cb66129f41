/* SPDX-License-Identifier: BSD-3-Clause */
/* bitfield: integers of 1 to 64 bits at any bit offset. */
#include "src/cmd/bitmap.h"
#include "src/cmd/call.h"

enum field_op { FIELD_GET, FIELD_SET, FIELD_INCRBY };
enum overflow { WRAP, SAT, FAIL };

struct op {
    uint64_t offset;
    int64_t value;
    uint8_t op, overflow, bits;
    bool is_signed;
};

static enum err parse_type(struct call *c, int i, struct op *op) {
    struct slice s = c->argv[i];
    int64_t bits;
    if (s.n < 2 || (s.p[0] != 'i' && s.p[0] != 'u') || !num_parse_i64(slice_make(s.p + 1, s.n - 1), &bits) || bits < 1 ||
        bits > (s.p[0] == 'i' ? 64 : 63)) {
        return call_errorf(c, "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.");
    }
    op->is_signed = s.p[0] == 'i';
    op->bits = (uint8_t)bits;
    return OK;
}

/* All operations into ops; *end: bytes that writes reach to. */
static enum err parse_ops(struct call *c, struct op *ops, int *count, bool *writes, size_t *end) {
    uint8_t overflow = WRAP;
    *count = 0;
    *writes = false;
    *end = 0;
    for (int i = 2; i < c->argc;) {
        int more = c->argc - i - 1;
        struct op op = {.overflow = overflow};
        if (arg_is(c, i, "get") && more >= 2) {
            op.op = FIELD_GET;
        } else if (arg_is(c, i, "set") && more >= 3) {
            op.op = FIELD_SET;
        } else if (arg_is(c, i, "incrby") && more >= 3) {
            op.op = FIELD_INCRBY;
        } else if (arg_is(c, i, "overflow") && more >= 1) {
            if (arg_is(c, i + 1, "wrap")) {
                overflow = WRAP;
            } else if (arg_is(c, i + 1, "sat")) {
                overflow = SAT;
            } else if (arg_is(c, i + 1, "fail")) {
                overflow = FAIL;
            } else {
                return call_errorf(c, "ERR Invalid OVERFLOW type specified");
            }
            i += 2;
            continue;
        } else {
            return ERR_SYNTAX;
        }
        enum err e = parse_type(c, i + 1, &op);
        if (e != OK || (e = arg_bit_offset(c, i + 2, true, op.bits, &op.offset)) != OK) {
            return e;
        }
        if (op.op != FIELD_GET) {
            if (arg_i64(c, i + 3, &op.value) != OK) {
                return ERR_NOT_INT;
            }
            size_t reach = (size_t)((op.offset + op.bits - 1) / 8 + 1);
            *end = reach > *end ? reach : *end;
            *writes = true;
        }
        ops[(*count)++] = op;
        i += op.op == FIELD_GET ? 3 : 4;
    }
    return OK;
}

static uint64_t read_bits(struct slice s, uint64_t offset, unsigned bits) {
    uint64_t v = 0;
    for (unsigned i = 0; i < bits; i++, offset++) {
        size_t byte = (size_t)(offset >> 3);
        unsigned bit = byte < s.n ? ((unsigned char)s.p[byte] >> (7 - (offset & 7))) & 1 : 0;
        v = v << 1 | bit;
    }
    return v;
}

static void write_bits(char *p, uint64_t offset, unsigned bits, uint64_t v) {
    for (unsigned i = 0; i < bits; i++, offset++) {
        unsigned at = 7 - (unsigned)(offset & 7), bit = (unsigned)(v >> (bits - 1 - i)) & 1;
        unsigned char *byte = (unsigned char *)p + (offset >> 3);
        *byte = (unsigned char)((*byte & ~(1u << at)) | (bit << at));
    }
}

static int64_t as_signed(uint64_t v, unsigned bits) {
    return bits == 64 ? (int64_t)v : (int64_t)(v << (64 - bits)) >> (64 - bits);
}

/* The sum in the field's type by the rules of overflow; false: FAIL. Wide arithmetic, so nothing overflows here. */
static bool field_value(const struct op *op, __int128 v, uint64_t *out) {
    __int128 max = op->is_signed ? ((__int128)1 << (op->bits - 1)) - 1 : ((__int128)1 << op->bits) - 1;
    __int128 min = op->is_signed ? -max - 1 : 0;
    if (v < min || v > max) {
        if (op->overflow == FAIL) {
            return false;
        }
        v = op->overflow == SAT ? (v < min ? min : max) : v;
    }
    *out = (uint64_t)(unsigned __int128)v;
    if (op->bits < 64) {
        *out &= ((uint64_t)1 << op->bits) - 1;
    }
    return true;
}

static int64_t shown(const struct op *op, uint64_t raw) {
    return op->is_signed ? as_signed(raw, op->bits) : (int64_t)raw;
}

/* What SET or INCRBY makes of a field that holds old; false: it overflows and FAIL was asked for. */
static bool new_bits(const struct op *op, uint64_t old, uint64_t *fresh) {
    /* SET takes the argument's 64 bits as the field's type does: signed, or not */
    __int128 given = op->is_signed ? (__int128)op->value : (__int128)(uint64_t)op->value;
    __int128 want = op->op == FIELD_SET ? given : (__int128)shown(op, old) + op->value;
    return field_value(op, want, fresh);
}

/* If no operation changes the bytes as they are, all of them in a row do not. */
static bool changes_something(const struct op *ops, int count, struct slice s) {
    for (int i = 0; i < count; i++) {
        uint64_t old = read_bits(s, ops[i].offset, ops[i].bits), fresh;
        if (ops[i].op != FIELD_GET && new_bits(&ops[i], old, &fresh) && fresh != old) {
            return true;
        }
    }
    return false;
}

/* Runs one operation on the bytes (p NULL: none of them changes any) and replies. */
static void run_op(struct call *c, const struct op *op, struct slice s, char *p) {
    uint64_t old = read_bits(s, op->offset, op->bits), fresh;
    if (op->op == FIELD_GET) {
        reply_int(c->out, shown(op, old));
        return;
    }
    if (!new_bits(op, old, &fresh)) {
        reply_null(c->out);
        return;
    }
    if (p != NULL) {
        write_bits(p, op->offset, op->bits, fresh);
    }
    reply_int(c->out, op->op == FIELD_SET ? shown(op, old) : shown(op, fresh));
}

static enum err bitfield_generic(struct call *c, bool read_only) {
    struct op *ops = arena_alloc(c->arena, (size_t)c->argc * sizeof(*ops));
    int count;
    bool writes;
    size_t end;
    struct item_view v;
    enum err e = parse_ops(c, ops, &count, &writes, &end);
    if (e != OK) {
        return e;
    }
    if (read_only && writes) {
        return call_errorf(c, "ERR BITFIELD_RO only supports the GET subcommand");
    }
    e = call_get_type(c, 0, TYPE_STRING, &v);
    if (e != OK) {
        return e;
    }
    char *p = NULL;
    struct slice s = v.str;
    if (writes && s.n >= end && !changes_something(ops, count, s)) {
        call_string_raw(c, 0);
    } else if (writes) {
        size_t len = s.n > end ? s.n : end;
        e = call_string_mut(c, 0, len, &p);
        if (e != OK) {
            return e;
        }
        s = slice_make(p, len);
    }
    reply_array(c->out, count);
    for (int i = 0; i < count; i++) {
        run_op(c, &ops[i], s, p);
    }
    return OK;
}

enum err bitfield_run(struct call *c) {
    return bitfield_generic(c, false);
}

enum err bitfield_ro_run(struct call *c) {
    return bitfield_generic(c, true);
}
