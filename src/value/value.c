/* SPDX-License-Identifier: BSD-3-Clause */
/* value: references, sizes and the end of aggregates. */
#include "src/value/value.h"

#include "src/base/check.h"
#include "src/base/mem.h"
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
    if (v->encoding == ENC_HASHTABLE) {
        if (!dict_free_some(v->u.dict, budget)) {
            return false;
        }
        dict_destroy(&v->u.dict);
    } else {
        mem_free(v->u.lp);
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
    return v->encoding == ENC_HASHTABLE ? dict_len(v->u.dict) : lp_len(v->u.lp) / 2;
}

size_t value_bytes(const struct value *v) {
    size_t body = v->encoding == ENC_HASHTABLE ? dict_bytes(v->u.dict) : mem_usable(v->u.lp);
    return body + mem_usable(v);
}

const char *value_encoding_name(const struct value *v) {
    return v->encoding == ENC_HASHTABLE ? "hashtable" : "listpack";
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

struct value *value_dup(const struct value *v) {
    struct value *copy = mem_zalloc(sizeof(*copy));
    atomic_init(&copy->refs, 1);
    copy->type = v->type;
    copy->encoding = v->encoding;
    bool ok;
    if (v->encoding == ENC_HASHTABLE) {
        ok = dup_dict(copy, v);
    } else {
        copy->u.lp = mem_try_alloc(lp_bytes(v->u.lp));
        ok = copy->u.lp != NULL;
        if (ok) {
            memcpy(copy->u.lp, v->u.lp, lp_bytes(v->u.lp));
        }
    }
    if (!ok) {
        mem_free(copy);
        return NULL;
    }
    return copy;
}
