/* SPDX-License-Identifier: BSD-3-Clause */
/* rdb: Redis's serialisation of values, for DUMP and RESTORE and for RDB files. Writes version 10 (Redis 7.0); reads versions up to 12
 * for the types it knows: strings, hashes in all their forms, and RedisBloom's Bloom filters. Lengths are never trusted beyond the
 * bytes there are. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/buf.h"
#include "src/value/value.h"

enum {
    RDB_VERSION = 10,
    RDB_MAX_VERSION = 12,
    RDB_OP_SLOT_INFO = 244,
    RDB_OP_FUNCTION2 = 245,
    RDB_OP_MODULE_AUX = 247,
    RDB_OP_IDLE = 248,
    RDB_OP_FREQ = 249,
    RDB_OP_AUX = 250,
    RDB_OP_RESIZEDB = 251,
    RDB_OP_EXPIRETIME_MS = 252,
    RDB_OP_EXPIRETIME = 253,
    RDB_OP_SELECTDB = 254,
    RDB_OP_EOF = 255
};

/* ---- writing: appends ---- */
void rdb_put_len(struct buf *b, uint64_t n);
/* Integers in binary; compress: LZF when that is shorter. */
void rdb_put_string(struct buf *b, struct slice s, bool compress);
/* The type byte of a string (value NULL) or aggregate. */
uint8_t rdb_type_of(const struct value *value);
/* The body behind it. */
void rdb_put_body(struct buf *b, struct slice str, const struct value *value, bool compress);
/* A whole DUMP payload: type, body, version, checksum. False without memory. */
bool rdb_dump(struct buf *b, struct slice str, const struct value *value) __attribute__((warn_unused_result));

/* ---- reading ---- */
struct rdb_reader {
    const unsigned char *start, *p, *end;
    const char *error; /* why reading failed: static text */
    bool no_memory;    /* and that it was for want of memory */
    uint64_t max_unpacked; /* compressed strings may become so many bytes, all together; 0: any number */
    uint64_t unpacked;     /* so many they are so far */
    uint64_t missing;      /* reading failed because the bytes end: at least so many more are needed */
};
bool rdb_get_byte(struct rdb_reader *r, uint8_t *out);
bool rdb_get_bytes(struct rdb_reader *r, void *out, size_t n);
/* encoded: the length is one of the special string forms instead. */
bool rdb_get_len(struct rdb_reader *r, uint64_t *out, bool *encoded);
/* Appends the string to out (emptied first). */
bool rdb_get_string(struct rdb_reader *r, struct buf *out);
/* One value of the type: a string into str (*value NULL), or an aggregate with one reference. */
bool rdb_get_value(struct rdb_reader *r, uint8_t type, const struct hash_limits *limits, struct buf *str,
                   struct value **value);
/* The name of a value type that is known but cannot be kept here ("list"), or NULL. r is at the value's body, and stays there: a
 * module's value says in it which module's it is. */
const char *rdb_foreign_type(const struct rdb_reader *r, uint8_t type);
/* Passes over one value of such a type. */
bool rdb_skip_value(struct rdb_reader *r, uint8_t type);
/* Passes over what a module noted in a file, behind RDB_OP_MODULE_AUX. */
bool rdb_skip_module_aux(struct rdb_reader *r);
/* Whether version and checksum of a DUMP payload are right; body is set to type and body. */
bool rdb_check_dump(struct slice payload, struct slice *body);
/* The same for a payload of any version: no type byte ever changes its meaning, so what a newer server writes is either known
 * or an unknown type. */
bool rdb_check_any_dump(struct slice payload, struct slice *body);
