/* SPDX-License-Identifier: BSD-3-Clause */
/* type_hash: hashes, compact as a listpack of field, value, field, value; large as a dict. */
#include "src/base/check.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/ds/dict.h"
#include "src/ds/listpack.h"
#include "src/value/value.h"

_Static_assert(sizeof(((struct hash_scratch *)0)->text) >= LP_INT_TEXT, "scratch room");

struct value *hash_create(void) {
    struct value *v = mem_zalloc(sizeof(*v));
    atomic_init(&v->refs, 1);
    v->type = TYPE_HASH;
    v->encoding = ENC_LISTPACK;
    v->u.lp = lp_create();
    return v;
}

/* The field's element, or NULL. */
static unsigned char *lp_find_field(const unsigned char *lp, struct slice field) {
    char text[LP_INT_TEXT];
    for (unsigned char *p = lp_first(lp); p != NULL;) {
        if (slice_eq(lp_get(p, text), field)) {
            return p;
        }
        p = lp_next(lp, p); /* its value */
        p = lp_next(lp, p);
    }
    return NULL;
}

bool hash_get(const struct value *v, struct slice field, struct hash_scratch *scratch,
              struct slice *out) {
    if (v->encoding == ENC_HASHTABLE) {
        struct dict_entry *e = dict_find(v->u.dict, field);
        if (e != NULL) {
            *out = dict_value(e);
        }
        return e != NULL;
    }
    unsigned char *p = lp_find_field(v->u.lp, field);
    if (p != NULL) {
        *out = lp_get(lp_next(v->u.lp, p), scratch->text);
    }
    return p != NULL;
}

static bool to_dict(struct value *v) {
    struct dict *d = dict_create();
    struct hash_iter it;
    struct slice field, value;
    hash_iter_init(&it, v);
    while (hash_iter_next(&it, &field, &value)) {
        if (dict_set(d, field, value) < 0) {
            dict_destroy(&d);
            return false;
        }
    }
    mem_free(v->u.lp);
    v->u.dict = d;
    v->encoding = ENC_HASHTABLE;
    return true;
}

static enum err set_compact(struct value *v, struct slice field, struct slice value, bool *created) {
    unsigned char *p = lp_find_field(v->u.lp, field), *lp = v->u.lp;
    *created = p == NULL;
    if (p != NULL) {
        p = lp_next(lp, p);
        lp = lp_replace(lp, &p, value);
        v->u.lp = lp != NULL ? lp : v->u.lp;
        return lp != NULL ? OK : ERR_OUT_OF_MEMORY;
    }
    size_t before = lp_len(lp);
    lp = lp_append(lp, field);
    if (lp == NULL) {
        return ERR_OUT_OF_MEMORY;
    }
    v->u.lp = lp;
    lp = lp_append(lp, value);
    if (lp == NULL) {
        p = lp_first(v->u.lp);
        for (size_t i = 0; i < before; i++) {
            p = lp_next(v->u.lp, p);
        }
        v->u.lp = lp_delete(v->u.lp, p, 1);
        return ERR_OUT_OF_MEMORY;
    }
    v->u.lp = lp;
    return OK;
}

enum err hash_set(struct value *v, struct slice field, struct slice value,
                  const struct hash_limits *limits, bool *created) {
    bool ignored;
    created = created != NULL ? created : &ignored;
    if (v->encoding == ENC_LISTPACK &&
        (field.n > limits->max_bytes || value.n > limits->max_bytes) && !to_dict(v)) {
        return ERR_OUT_OF_MEMORY;
    }
    if (v->encoding == ENC_LISTPACK) {
        enum err e = set_compact(v, field, value, created);
        if (e == OK && value_len(v) > limits->max_entries && !to_dict(v)) {
            return OK; /* stays compact until memory is there */
        }
        return e;
    }
    int r = dict_set(v->u.dict, field, value);
    *created = r == 1;
    return r < 0 ? ERR_OUT_OF_MEMORY : OK;
}

/* All entries are made before the first takes its place. */
static enum err set_all_large(struct value *v, const struct slice *words, size_t n, size_t *created) {
    struct dict_entry *made = NULL, **end = &made, *e;
    bool ok = true;
    for (size_t i = 0; i < n && ok; i++) {
        *end = e = dict_make(words[2 * i], words[2 * i + 1]);
        ok = e != NULL;
        end = ok ? &e->next : end;
    }
    while ((e = made) != NULL) {
        made = e->next;
        if (ok) {
            *created += dict_put(v->u.dict, e);
        } else {
            dict_unmake(e);
        }
    }
    return ok ? OK : ERR_OUT_OF_MEMORY;
}

/* The compact form is small: a copy of it waits until all went well. */
static enum err set_all_compact(struct value *v, const struct slice *words, size_t n, const struct hash_limits *limits, size_t *created) {
    size_t bytes = lp_bytes(v->u.lp);
    unsigned char *before = mem_try_alloc(bytes);
    if (before == NULL) {
        return ERR_OUT_OF_MEMORY;
    }
    memcpy(before, v->u.lp, bytes);
    enum err e = OK;
    for (size_t i = 0; i < n && e == OK; i++) {
        bool fresh;
        e = hash_set(v, words[2 * i], words[2 * i + 1], limits, &fresh);
        *created += e == OK && fresh;
    }
    if (e == OK) {
        mem_free(before);
        return OK;
    }
    if (v->encoding == ENC_HASHTABLE) {
        dict_destroy(&v->u.dict);
    } else {
        mem_free(v->u.lp);
    }
    v->encoding = ENC_LISTPACK;
    v->u.lp = before;
    return e;
}

enum err hash_set_all(struct value *v, const struct slice *words, size_t n, const struct hash_limits *limits, size_t *created) {
    bool fresh = false;
    enum err e;
    *created = 0;
    if (n == 1) {
        e = hash_set(v, words[0], words[1], limits, &fresh);
        *created = fresh;
        return e;
    }
    return v->encoding == ENC_HASHTABLE ? set_all_large(v, words, n, created) : set_all_compact(v, words, n, limits, created);
}

bool hash_del(struct value *v, struct slice field) {
    if (v->encoding == ENC_HASHTABLE) {
        return dict_del(v->u.dict, field);
    }
    unsigned char *p = lp_find_field(v->u.lp, field);
    if (p != NULL) {
        v->u.lp = lp_delete(v->u.lp, p, 2);
    }
    return p != NULL;
}

void hash_iter_init(struct hash_iter *it, const struct value *v) {
    *it = (struct hash_iter){.v = v};
    if (v->encoding == ENC_LISTPACK) {
        it->p = lp_first(v->u.lp);
    }
}

bool hash_iter_next(struct hash_iter *it, struct slice *field, struct slice *value) {
    if (it->v->encoding == ENC_HASHTABLE) {
        struct dict_entry *e = dict_next(it->v->u.dict, &it->bucket, it->entry);
        it->entry = e;
        if (e != NULL) {
            *field = dict_field(e);
            *value = dict_value(e);
        }
        return e != NULL;
    }
    if (it->p == NULL) {
        return false;
    }
    *field = lp_get(it->p, it->a.text);
    it->p = lp_next(it->v->u.lp, it->p);
    *value = lp_get(it->p, it->b.text);
    it->p = lp_next(it->v->u.lp, it->p);
    return true;
}

void hash_random(const struct value *v, struct hash_iter *it, struct slice *field,
                 struct slice *value) {
    hash_iter_init(it, v);
    if (v->encoding == ENC_HASHTABLE) {
        struct dict_entry *e = dict_random(v->u.dict);
        *field = dict_field(e);
        *value = dict_value(e);
        return;
    }
    for (uint64_t skip = rng_below(value_len(v)) + 1; skip > 0; skip--) {
        hash_iter_next(it, field, value);
    }
}

/* Adds p to an open-addressed set of mask + 1 places; false when it is there. */
static bool set_add(const void **set, size_t mask, const void *p) {
    size_t i = ((uintptr_t)p >> 4) * 0x9e3779b97f4a7c15ULL >> 20 & mask;
    for (; set[i] != NULL; i = (i + 1) & mask) {
        if (set[i] == p) {
            return false;
        }
    }
    set[i] = p;
    return true;
}

/* Draws until n different entries have come up: at most a third of them are asked for, so a draw rarely repeats. */
static bool sample_by_draws(const struct dict *d, size_t n,
                            void (*fn)(void *ctx, struct slice field, struct slice value), void *ctx) {
    size_t places = 4;
    while (places < 2 * n) {
        places *= 2;
    }
    const void **set = mem_try_alloc(places * sizeof(*set));
    if (set == NULL) {
        return false;
    }
    memset(set, 0, places * sizeof(*set));
    while (n > 0) {
        struct dict_entry *e = dict_random(d);
        if (set_add(set, places - 1, e)) {
            fn(ctx, dict_field(e), dict_value(e));
            n--;
        }
    }
    mem_free(set);
    return true;
}

void hash_sample(const struct value *v, size_t n, void (*fn)(void *ctx, struct slice field, struct slice value), void *ctx) {
    size_t left = value_len(v);
    if (v->encoding == ENC_HASHTABLE && n < left / 3 && sample_by_draws(v->u.dict, n, fn, ctx)) {
        return;
    }
    struct hash_iter it;
    struct slice field, value;
    hash_iter_init(&it, v);
    for (; n > 0 && hash_iter_next(&it, &field, &value); left--) {
        if (rng_below(left) < n) { /* selection sampling: each with the chance it needs */
            fn(ctx, field, value);
            n--;
        }
    }
}

uint64_t hash_scan(const struct value *v, uint64_t cursor, size_t count,
                   void (*fn)(void *ctx, struct slice field, struct slice value), void *ctx) {
    if (v->encoding == ENC_HASHTABLE) {
        return dict_scan(v->u.dict, cursor, count, fn, ctx);
    }
    struct hash_iter it;
    struct slice field, value;
    hash_iter_init(&it, v);
    while (hash_iter_next(&it, &field, &value)) {
        fn(ctx, field, value);
    }
    return 0;
}
