/* SPDX-License-Identifier: BSD-3-Clause */
/* lane: a list in order of arrival, and a table of the newest change of each key. */
#include "persist/lane.h"

#include <string.h>

#include "persist/record.h"
#include "src/base/check.h"
#include "src/base/mem.h"

void lane_init(struct lane *l, unsigned id) {
    memset(l, 0, sizeof(*l));
    l->id = id;
    lock_init(&l->lock, LOCK_LANE, id);
}

static void op_free(struct op *op) {
    buf_free(&op->record);
    mem_free(op);
}

void lane_fini(struct lane *l) {
    for (struct op *op = l->first, *next; op != NULL; op = next) {
        next = op->next;
        op_free(op);
    }
    l->first = NULL;
}

static struct op **slot_of(const struct lane *l, uint64_t position) {
    return (struct op **)(uintptr_t)&l->table[lane_bucket(position)];
}

static bool is_key(const struct op *op, const struct key *key, uint32_t generation) {
    uint32_t g;
    uint64_t position;
    struct slice name;
    return op->position == hash_position(key->hash) && record_split_key(slice_make(op->key, op->key_len), &g, &position, &name) &&
           g == generation && slice_eq(name, key->name);
}

struct op *lane_find(const struct lane *l, const struct key *key, uint32_t generation) {
    lock_assert_held(&l->lock);
    struct op *op = *slot_of(l, hash_position(key->hash));
    while (op != NULL && !is_key(op, key, generation)) {
        op = op->chain;
    }
    return op;
}

static void unlink_found(struct lane *l, struct op *op) {
    struct op **at = slot_of(l, op->position);
    while (*at != op) {
        CHECK(*at != NULL);
        at = &(*at)->chain;
    }
    *at = op->chain;
    op->found = false;
}

static size_t op_bytes(const struct op *op) {
    return sizeof(*op) + op->key_len + op->record.cap;
}

/* A queued change nobody has seen becomes the new one, unless that would have to note what the old one did not: notes are
 * given back in the order of the list. */
static bool join(struct lane *l, struct op *op, const struct change_request *r) {
    if (op == NULL || op->taken || op->ack != NULL || (r->note && !op->noted && op->change != CHANGE_PUT)) {
        return false;
    }
    if (r->note && !op->noted && r->change == CHANGE_PUT) {
        return false;
    }
    l->bytes -= op_bytes(op);
    buf_free(&op->record);
    op->change = r->change;
    if (r->change == CHANGE_PUT) {
        op->record = *r->record;
        *r->record = (struct buf){0};
    }
    op->ack = r->ack;
    l->bytes += op_bytes(op);
    return true;
}

static struct op *make_op(const struct change_request *r) {
    struct op *op = mem_zalloc(sizeof(*op) + RECORD_KEY_HEAD + r->key->name.n);
    struct buf key = {.p = op->key, .cap = RECORD_KEY_HEAD + r->key->name.n}; /* written in place: it fits */
    record_put_key(&key, r->generation, r->key);
    op->position = hash_position(r->key->hash);
    op->change = r->change;
    op->physical = r->key->db;
    op->key_len = key.n;
    op->ack = r->ack;
    op->replaces = r->replaces;
    op->had = r->had;
    if (r->change == CHANGE_PUT) {
        op->record = *r->record;
        *r->record = (struct buf){0};
    }
    return op;
}

struct op *lane_add(struct lane *l, struct state *state, const struct change_request *r, int *growth) {
    struct op *old = lane_find(l, r->key, r->generation);
    int before = old != NULL ? op_growth(old) : 0;
    if (join(l, old, r)) {
        *growth = op_growth(old) - before;
        return old;
    }
    struct op *op = make_op(r);
    if (old != NULL) {
        op->behind = true;
        op->put = old->change == CHANGE_PUT;
        unlink_found(l, old); /* nor does it change any more */
    }
    if (r->note) {
        op->noted = true;
        op->note = state_note(state, l->id, slice_make(op->key, op->key_len));
    }
    op->found = true;
    op->chain = *slot_of(l, op->position);
    *slot_of(l, op->position) = op;
    if (l->last != NULL) {
        l->last->next = op;
    } else {
        l->first = op;
    }
    l->last = op;
    l->untaken = l->untaken == NULL ? op : l->untaken;
    l->ops++;
    l->bytes += op_bytes(op);
    *growth = op_growth(op);
    return op;
}

size_t lane_take(struct lane *l, struct op **out, size_t max, size_t max_bytes) {
    size_t n = 0, bytes = 0;
    for (; l->untaken != NULL && n < max && bytes < max_bytes; l->untaken = l->untaken->next) {
        l->untaken->taken = true;
        bytes += op_bytes(l->untaken);
        out[n++] = l->untaken;
    }
    return n;
}

size_t lane_done(struct lane *l, struct state *state, size_t n, struct sink_ack **acks) {
    size_t count = 0;
    for (; n > 0; n--) {
        struct op *op = l->first;
        CHECK(op != NULL && op->taken);
        if (op->found) {
            unlink_found(l, op);
        }
        if (op->noted) {
            state_forget(state, l->id, op->note);
        }
        if (op->ack != NULL) {
            acks[count++] = op->ack;
        }
        l->first = op->next;
        l->last = l->first == NULL ? NULL : l->last;
        l->ops--;
        l->bytes -= op_bytes(op);
        op_free(op);
    }
    return count;
}
