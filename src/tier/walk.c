/* SPDX-License-Identifier: BSD-3-Clause */
/* walk: one interval of positions over all tiers. */
#include "src/tier/walk.h"

#include <stdlib.h>
#include <string.h>

#include "src/base/check.h"
#include "src/base/mem.h"

bool walk_has_below(const struct tier *t) {
    for (unsigned i = 0; i < t->source_count; i++) {
        if (t->sources[i]->walk != NULL) {
            return true;
        }
    }
    return false;
}

bool walk_is_empty_below(const struct tier *t, uint8_t physical) {
    bool empty = true;
    for (unsigned i = 0; i < t->source_count; i++) {
        struct source *s = t->sources[i];
        empty &= s->key_count == NULL || s->key_count(s, physical) <= 0;
    }
    return empty;
}

/* Positions wrap to 0 behind the last one: an interval that ends there has no end to compare with. */
static bool is_within(const struct walk *w, uint64_t position) {
    return position >= w->from && (w->next == 0 || position < w->next);
}

static struct walk_key *add(struct walk *w, uint64_t position, struct slice name, enum value_type type, enum walk_seen seen) {
    if (w->count == w->cap) {
        w->cap = w->cap == 0 ? 64 : w->cap * 2;
        w->keys = mem_realloc(w->keys, w->cap * sizeof(*w->keys));
    }
    struct walk_key *k = &w->keys[w->count++];
    *k = (struct walk_key){.position = position, .name = w->names.n, .name_len = name.n, .expire_ms = -1, .type = (uint8_t)type,
                           .seen = (uint8_t)seen};
    buf_put_slice(&w->names, name);
    return k;
}

static void add_item(void *ctx, const struct key *key, const struct item_view *item) {
    struct walk *w = ctx;
    add(w, hash_position(key->hash), key->name, item->type, WALK_IN_MEMORY);
}

static void add_within(void *ctx, const struct key *key, const struct item_view *item) {
    struct walk *w = ctx;
    if (is_within(w, hash_position(key->hash))) {
        add_item(w, key, item);
    }
}

struct below {
    struct walk *walk;
    struct source *source;
};

/* That a key was deleted counts only while nothing moves: else it may be in memory by now, written behind our back. */
static void add_changed(void *ctx, const struct walked *found) {
    struct below *b = ctx;
    if (found->type != TYPE_NONE || b->walk->locked) {
        add(b->walk, found->position, found->name, found->type, WALK_CHANGED)->expire_ms = found->expire_ms;
    }
}

/* Ends the watches; what came meanwhile before the interval's end is met, too, when fn is given. */
static bool unwatch(struct walk *w, bool visit) {
    bool whole = true;
    for (unsigned i = 0; i < w->tier->source_count; i++) {
        struct below b = {w, w->tier->sources[i]};
        if (w->watches[i] != NULL) {
            whole &= b.source->unwatch(b.source, w->watches[i], w->next, visit ? add_changed : NULL, &b);
            w->watches[i] = NULL;
        }
    }
    return whole;
}

void walk_before(struct walk *w) {
    for (unsigned i = 0; i < w->tier->source_count; i++) {
        struct source *s = w->tier->sources[i];
        w->watches[i] = s->watch != NULL ? s->watch(s, w->physical, w->from) : NULL;
    }
    w->next = l1_scan(w->tier->l1, w->from, w->want, w->physical, w->now_ms, w->locked, add_item, w);
    w->before = w->count;
}

/* Purged since it went down. Purges are read under any shard's lock. */
static bool is_purged(struct walk *w, const struct walked *found) {
    struct tier *t = w->tier;
    struct item_extra e;
    struct key key = {found->name, 0, w->physical};
    if (likely(tier_last_purge(t) == 0) || found->type == TYPE_NONE) {
        return false;
    }
    if (!item_extra_get(found->extra, &e)) {
        return true;
    }
    if (!w->locked) {
        l1_lock(t->l1, 0);
    }
    bool purged = tier_deadline(t, &key, found->expire_ms == -1 ? INT64_MAX : found->expire_ms, &e) <= w->now_ms;
    if (!w->locked) {
        l1_unlock(t->l1, 0);
    }
    return purged;
}

static void add_below(void *ctx, const struct walked *found) {
    struct below *b = ctx;
    struct walk *w = b->walk;
    if (is_purged(w, found)) {
        return;
    }
    struct walk_key *k = add(w, found->position, found->name, found->type, found->queued ? WALK_ON_ITS_WAY : WALK_BELOW);
    k->expire_ms = found->expire_ms;
    if (w->pack != NULL && found->type != TYPE_NONE) {
        k->data = w->data.n;
        w->pack(&w->data, b->source, found);
        k->data_len = w->data.n - k->data;
    }
}

void walk_below(struct walk *w) {
    for (unsigned i = 0; i < w->tier->source_count; i++) {
        struct below b = {w, w->tier->sources[i]};
        if (b.source->walk != NULL) {
            w->next = b.source->walk(b.source, w->physical, w->from, w->next, w->want, w->now_ms, add_below, &b);
        }
    }
}

struct one {
    const struct walk *walk;
    struct source *source;
    struct slice name;
    struct buf *data;
    bool queued; /* what is on its way has said what is true */
};

static void pack_named(void *ctx, const struct walked *found) {
    struct one *o = ctx;
    if (!slice_eq(found->name, o->name) || (o->queued && !found->queued)) {
        return;
    }
    o->queued |= found->queued;
    buf_clear(o->data);
    if (found->type != TYPE_NONE) {
        o->walk->pack(o->data, o->source, found);
    }
}

bool walk_below_one(struct walk *w, const struct walk_key *k, struct buf *data) {
    uint64_t from = k->position >> WALK_STEP_BITS << WALK_STEP_BITS;
    buf_clear(data);
    for (unsigned i = 0; i < w->tier->source_count && data->n == 0; i++) {
        struct one o = {w, w->tier->sources[i], walk_name(w, k), data, false};
        if (o.source->walk != NULL) {
            o.source->walk(o.source, w->physical, from, from + (1 << WALK_STEP_BITS), SIZE_MAX / 32, w->now_ms, pack_named, &o);
        }
    }
    return data->n > 0;
}

static int by_position(const void *pa, const void *pb, void *ctx) {
    const struct walk *w = ctx;
    const struct walk_key *a = pa, *b = pb;
    if (a->position != b->position) {
        return a->position < b->position ? -1 : 1;
    }
    int order = a->name_len == b->name_len ? memcmp(w->names.p + a->name, w->names.p + b->name, a->name_len)
                                           : a->name_len < b->name_len ? -1 : 1;
    if (order != 0 || a->seen != b->seen) {
        return order != 0 ? order : a->seen - b->seen; /* the first says what is true */
    }
    return a->name > b->name ? -1 : 1; /* of two changes the last */
}

/* Sorted: the first word about each key is the true one. */
static void keep_one_each(struct walk *w) {
    size_t kept = 0;
    for (size_t i = 0, end; i < w->count; i = end) {
        const struct walk_key *k = &w->keys[i];
        for (end = i + 1; end < w->count && w->keys[end].position == k->position &&
                          slice_eq(walk_name(w, &w->keys[end]), walk_name(w, k));
             end++) {
        }
        if (is_within(w, k->position) && k->type != TYPE_NONE && (k->expire_ms == -1 || k->expire_ms > w->now_ms)) {
            w->keys[kept++] = *k;
        }
    }
    w->count = kept;
}

bool walk_after(struct walk *w) {
    uint64_t at = w->from;
    if (w->locked && w->before > 0) { /* what memory has now is all that counts */
        w->count -= w->before;
        memmove(w->keys, w->keys + w->before, w->count * sizeof(*w->keys));
    }
    do {
        at = l1_scan(w->tier->l1, at, w->want, w->physical, w->now_ms, w->locked, add_within, w);
    } while (at != 0 && (w->next == 0 || at < w->next));
    bool whole = unwatch(w, true);
    if (w->count > 1) {
        qsort_r(w->keys, w->count, sizeof(*w->keys), by_position, w);
    }
    keep_one_each(w);
    return whole;
}

void walk_clear(struct walk *w) {
    unwatch(w, false);
    w->count = w->before = 0;
    w->next = 0;
    buf_clear(&w->names);
    buf_clear(&w->data);
}

void walk_free(struct walk *w) {
    unwatch(w, false);
    mem_free(w->keys);
    buf_free(&w->names);
    buf_free(&w->data);
    w->keys = NULL;
    w->count = w->cap = 0;
}
