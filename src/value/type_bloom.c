/* SPDX-License-Identifier: BSD-3-Clause */
/* type_bloom: Bloom filters as values, and their RDB body:
 *
 *   module id | items | layers | options | expansion | layer ... | end
 *   layer: capacity | error | hashes | bits per item | bits | n2 | bytes of the bits | items
 *
 * each field behind a code that says what it is. The bits are never compressed: half of them are set in a full layer. */
#include "src/value/type_bloom.h"

#include "src/base/mem.h"
#include "src/ds/bloom.h"

/* RDB's codes of a module's fields. */
enum { FIELD_END = 0, FIELD_UNSIGNED = 2, FIELD_DOUBLE = 4, FIELD_STRING = 5 };

/* RedisBloom's options of a filter. NO_ROUND and 64-bit hashes are what it makes itself, since 2.0. */
enum { OPTION_NO_ROUND = 1, OPTION_HASH64 = 4, OPTION_FIXED = 8 };

enum { ENCODING_VERSION = 4, DEFAULT_EXPANSION = 2 };
enum { HEAD_MAX = 5 * 10, LAYER_MAX = 8 * 10 }; /* a code and a length or double each */

/* A module type's id: nine characters of six bits, and ten bits of version. */
static uint64_t module_id(void) {
    static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint64_t id = 0;
    for (const char *p = value_type_name(TYPE_BLOOM); *p != '\0'; p++) {
        id = id << 6 | (uint64_t)(strchr(set, *p) - set);
    }
    return id << 10 | ENCODING_VERSION;
}

struct value *value_of_bloom(struct bloom *b) {
    struct value *v = mem_zalloc(sizeof(*v));
    atomic_init(&v->refs, 1);
    v->type = TYPE_BLOOM;
    v->encoding = ENC_BLOOM;
    v->u.bloom = b;
    return v;
}

/* ---- writing ---- */

static void put_unsigned(struct buf *b, uint64_t v) {
    rdb_put_len(b, FIELD_UNSIGNED);
    rdb_put_len(b, v);
}

static void put_double(struct buf *b, double v) {
    rdb_put_len(b, FIELD_DOUBLE);
    buf_put(b, &v, sizeof(v));
}

static void put_layer(struct buf *b, const struct bloom_layer *l, uint64_t items) {
    size_t n = l->bits / 8;
    put_unsigned(b, l->capacity);
    put_double(b, l->error);
    put_unsigned(b, l->hashes);
    put_double(b, l->bits_per_item);
    put_unsigned(b, l->bits);
    put_unsigned(b, 0); /* the bits are no power of two */
    rdb_put_len(b, FIELD_STRING);
    rdb_put_len(b, n);
    bloom_read_words(l, buf_reserve(b, n));
    buf_commit(b, n);
    put_unsigned(b, items);
}

void bloom_put_body(struct buf *b, const struct bloom *bloom) {
    uint32_t count = atomic_load_explicit(&bloom->count, memory_order_acquire);
    uint64_t items[BLOOM_MAX_LAYERS], sum = 0; /* read once: the sum must be theirs */
    for (uint32_t i = 0; i < count; i++) {
        items[i] = atomic_load_explicit(&bloom->layers[i]->items, memory_order_relaxed);
        sum += items[i];
    }
    bool fixed = bloom->expansion == 0;
    rdb_put_len(b, module_id());
    put_unsigned(b, sum);
    put_unsigned(b, count);
    put_unsigned(b, OPTION_NO_ROUND | OPTION_HASH64 | (fixed ? OPTION_FIXED : 0));
    put_unsigned(b, fixed ? DEFAULT_EXPANSION : bloom->expansion);
    for (uint32_t i = 0; i < count; i++) {
        put_layer(b, bloom->layers[i], items[i]);
    }
    rdb_put_len(b, FIELD_END);
}

size_t bloom_body_bound(const struct bloom *bloom) {
    size_t n = HEAD_MAX + 1;
    for (uint32_t i = 0; i < bloom->count; i++) {
        n += LAYER_MAX + bloom->layers[i]->bits / 8;
    }
    return n;
}

/* ---- reading ---- */

static bool fail(struct rdb_reader *r, const char *why) {
    r->error = r->error != NULL ? r->error : why;
    return false;
}

static bool get_plain(struct rdb_reader *r, uint64_t *out) {
    bool special;
    return rdb_get_len(r, out, &special) && (!special || fail(r, "bad length"));
}

static bool get_code(struct rdb_reader *r, uint64_t wanted) {
    uint64_t code;
    return get_plain(r, &code) && (code == wanted || fail(r, "unexpected module field"));
}

static bool get_unsigned(struct rdb_reader *r, uint64_t *out) {
    return get_code(r, FIELD_UNSIGNED) && get_plain(r, out);
}

static bool get_double(struct rdb_reader *r, double *out) {
    return get_code(r, FIELD_DOUBLE) && rdb_get_bytes(r, out, sizeof(*out));
}

/* Bits that are a power of two, from before RedisBloom 2.0, give the same as any other number of them. */
static bool get_layer(struct rdb_reader *r, struct buf *bytes, struct bloom *bloom, uint64_t *items) {
    struct bloom_layer shape = {0};
    uint64_t hashes, n2;
    if (!get_unsigned(r, &shape.capacity) || !get_double(r, &shape.error) || !get_unsigned(r, &hashes) || !get_double(r, &shape.bits_per_item) ||
        !get_unsigned(r, &shape.bits) || !get_unsigned(r, &n2) || !get_code(r, FIELD_STRING) || !rdb_get_string(r, bytes) ||
        !get_unsigned(r, items)) {
        return false;
    }
    shape.hashes = hashes <= BLOOM_MAX_HASHES ? (uint32_t)hashes : 0;
    atomic_init(&shape.items, *items);
    if (!bloom_sound(&shape) || shape.bits / 8 != bytes->n || n2 > 63 || (n2 != 0 && shape.bits != 1ULL << n2)) {
        return fail(r, "bad Bloom filter");
    }
    struct bloom_layer *l = bloom_push(bloom, &shape);
    if (l == NULL) {
        r->no_memory = true;
        return fail(r, "out of memory");
    }
    bloom_write_words(l, bytes->p);
    return true;
}

static bool get_layers(struct rdb_reader *r, uint64_t count, uint64_t sum, struct buf *bytes, struct bloom *bloom) {
    uint64_t items;
    for (; count > 0; count--, sum -= items) {
        if (!get_layer(r, bytes, bloom, &items)) {
            return false;
        }
    }
    return get_code(r, FIELD_END) && (sum == 0 || fail(r, "bad Bloom filter"));
}

bool bloom_is_next(const struct rdb_reader *r) {
    struct rdb_reader look = *r;
    uint64_t id;
    return !get_plain(&look, &id) || id == module_id(); /* one cut short is found to be so when it is read */
}

bool bloom_get_body(struct rdb_reader *r, struct buf *scratch, struct value **value) {
    uint64_t id, sum, count, options, expansion;
    if (!get_plain(r, &id)) {
        return false;
    }
    if (id != module_id()) {
        return fail(r, "a module's value, other than RedisBloom's Bloom filter of encoding 4");
    }
    if (!get_unsigned(r, &sum) || !get_unsigned(r, &count) || !get_unsigned(r, &options) || !get_unsigned(r, &expansion)) {
        return false;
    }
    bool fixed = options & OPTION_FIXED, known = (options | OPTION_NO_ROUND | OPTION_FIXED) == (OPTION_NO_ROUND | OPTION_HASH64 | OPTION_FIXED);
    if (!known || count == 0 || count > BLOOM_MAX_LAYERS || (!fixed && (expansion == 0 || expansion > UINT32_MAX))) {
        return fail(r, "bad Bloom filter");
    }
    struct bloom *bloom = bloom_create_bare(fixed ? 0 : (uint32_t)expansion);
    if (!get_layers(r, count, sum, scratch, bloom)) {
        bloom_destroy(&bloom);
        return false;
    }
    *value = value_of_bloom(bloom);
    return true;
}
