/* SPDX-License-Identifier: BSD-3-Clause */
/* value: references, sizes and the end of aggregates. */
#include "src/value/value.h"

#include "src/base/check.h"
#include "src/base/mem.h"
#include "src/ds/bloom.h"
#include "src/ds/dict.h"
#include "src/ds/listpack.h"

const char *value_type_name(enum value_type t) {
    switch (t) {
#define TYPE(name, id, text)                                                                       \
    case TYPE_##name:                                                                              \
        return text;
#include "src/value/types.def"
#undef TYPE
    }
    return "none";
}

struct value *value_ref(struct value *v) {
    atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
    return v;
}

bool value_free_some(struct value *v, size_t budget) {
    switch ((enum value_encoding)v->encoding) {
    case ENC_HASHTABLE:
        if (!dict_free_some(v->u.dict, budget)) {
            return false;
        }
        dict_destroy(&v->u.dict);
        break;
    case ENC_LISTPACK:
        mem_free(v->u.lp);
        break;
    case ENC_BLOOM:
        bloom_destroy(&v->u.bloom);
        break;
    }
    mem_free(v);
    return true;
}

void value_unref(struct value *v) {
    if (v != NULL && atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) == 1) {
        value_free_some(v, SIZE_MAX);
    }
}

size_t value_len(const struct value *v) {
    switch ((enum value_encoding)v->encoding) {
    case ENC_HASHTABLE:
        return dict_len(v->u.dict);
    case ENC_LISTPACK:
        return lp_len(v->u.lp) / 2;
    case ENC_BLOOM:
        break;
    }
    return atomic_load_explicit(&v->u.bloom->count, memory_order_relaxed);
}

size_t value_bytes(const struct value *v) {
    size_t body = v->encoding == ENC_HASHTABLE  ? dict_bytes(v->u.dict)
                  : v->encoding == ENC_LISTPACK ? mem_usable(v->u.lp)
                                                : bloom_bytes(v->u.bloom);
    return body + mem_usable(v);
}

const char *value_encoding_name(const struct value *v) {
    static const char *const names[] = {[ENC_LISTPACK] = "listpack", [ENC_HASHTABLE] = "hashtable", [ENC_BLOOM] = "raw"};
    return names[v->encoding];
}

static bool dup_dict(struct value *to, const struct value *from) {
    size_t bucket = 0;
    to->u.dict = dict_create();
    for (struct dict_entry *e = dict_next(from->u.dict, &bucket, NULL); e != NULL;
         e = dict_next(from->u.dict, &bucket, e)) {
        if (dict_set(to->u.dict, dict_field(e), dict_value(e)) < 0) {
            dict_destroy(&to->u.dict);
            return false;
        }
    }
    return true;
}

static bool dup_listpack(struct value *to, const struct value *from) {
    to->u.lp = mem_try_alloc(lp_bytes(from->u.lp));
    if (to->u.lp != NULL) {
        memcpy(to->u.lp, from->u.lp, lp_bytes(from->u.lp));
    }
    return to->u.lp != NULL;
}

static bool dup_bloom(struct value *to, const struct value *from) {
    to->u.bloom = bloom_dup(from->u.bloom);
    return to->u.bloom != NULL;
}

struct value *value_dup(const struct value *v) {
    struct value *copy = mem_zalloc(sizeof(*copy));
    atomic_init(&copy->refs, 1);
    copy->type = v->type;
    copy->encoding = v->encoding;
    bool ok = v->encoding == ENC_HASHTABLE  ? dup_dict(copy, v)
              : v->encoding == ENC_LISTPACK ? dup_listpack(copy, v)
                                            : dup_bloom(copy, v);
    if (!ok) {
        mem_free(copy);
        return NULL;
    }
    return copy;
}

struct value *value_share(struct value *v) {
    return value_in_place(v) ? value_dup(v) : value_ref(v);
}
