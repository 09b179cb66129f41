/* SPDX-License-Identifier: BSD-3-Clause */
/* filter: a counted pointer behind a lock. */
#include "src/guard/filter.h"

#include <stddef.h>

#include "src/ds/bloom.h"

void filter_init(struct filter *f) {
    *f = (struct filter){.expire_ms = -1};
    lock_init(&f->lock, LOCK_FILTER, 0);
}

void filter_fini(struct filter *f) {
    if (f->value != NULL) {
        value_unref(f->value);
    }
}

void filter_set(struct filter *f, struct value *value, uint8_t db, int64_t expire_ms) {
    struct value *fresh = value != NULL && value->type == TYPE_BLOOM ? value_ref(value) : NULL;
    lock_acquire(&f->lock);
    struct value *old = f->value;
    bool mine = fresh != NULL || f->db == db; /* the same name in another database may come and go */
    if (mine) {
        uint64_t items = fresh != NULL ? bloom_items(fresh->u.bloom) : 0;
        bool anew = fresh != NULL && f->db == db && items < f->least;
        f->value = anew ? NULL : fresh;
        f->least = anew ? f->least : items;
        f->db = db;
        f->expire_ms = expire_ms;
        fresh = anew ? fresh : NULL;
    }
    lock_release(&f->lock);
    if (mine && old != NULL) {
        value_unref(old);
    }
    if (fresh != NULL) {
        value_unref(fresh);
    }
}

bool filter_excludes(struct filter *f, const struct key *key, int64_t now_ms) {
    lock_acquire(&f->lock);
    bool usable = f->value != NULL && f->db == key->db && (f->expire_ms == -1 || f->expire_ms > now_ms);
    struct value *v = usable ? value_ref(f->value) : NULL;
    lock_release(&f->lock);
    if (v == NULL) {
        return false;
    }
    bool excluded = !bloom_exists(v->u.bloom, key->name);
    value_unref(v);
    return excluded;
}
