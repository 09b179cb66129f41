/* SPDX-License-Identifier: BSD-3-Clause */
/* wheel: expiry by bucket. A bucket with deadlines is on the wheel once, at its earliest; a visit removes what is due and puts
 * it back at its next. So an item costs nothing but its deadline, and no pass over all keys is ever made.
 *
 * Two levels of 256 slots: 64 ms each (16 s), and 16 s each (70 minutes). Deadlines further off are put near the end and
 * looked at again. An entry whose bucket has since been put elsewhere is recognised by its tick, and skipped. */
#include "src/base/check.h"
#include "src/l1/shard.h"

enum { BLOCK_ENTRIES = 14, HORIZON = 65000 /* ticks */, TURN = 65536 };

/* A table block of bucket numbers. */
struct wheel_block {
    uint32_t next, count;
    uint32_t bucket[BLOCK_ENTRIES];
};
_Static_assert(sizeof(struct wheel_block) == 64, "one table block");

void wheel_init(struct shard *s, int64_t now_ms) {
    s->wheel_tick = (uint64_t)now_ms >> TICK_SHIFT;
}

/* The ticks from the wheel's position to a bucket's, which is always within the horizon. */
static uint64_t ticks_ahead(const struct shard *s, const struct bucket *b) {
    return (uint16_t)(b->tick - (uint16_t)s->wheel_tick);
}

static void push(struct shard *s, uint32_t *slot, uint32_t bucket) {
    struct wheel_block *block = *slot != 0 ? slab_at(&s->slab, *slot) : NULL;
    if (block == NULL || block->count == BLOCK_ENTRIES) {
        uint32_t h = slab_alloc(&s->slab, SLAB_TABLE_CLASS);
        if (h == 0) {
            return; /* without memory the items still expire when touched */
        }
        block = slab_at(&s->slab, h);
        block->next = *slot;
        block->count = 0;
        *slot = h;
    }
    block->bucket[block->count++] = bucket;
}

void wheel_schedule(struct shard *s, uint32_t index, int64_t deadline_ms) {
    struct bucket *b = shard_bucket(s, index);
    uint64_t due = (uint64_t)deadline_ms >> TICK_SHIFT;
    uint64_t ahead = due > s->wheel_tick ? due - s->wheel_tick : 1;
    if (deadline_ms < 0) {
        ahead = 1;
    }
    ahead = ahead > HORIZON ? HORIZON : ahead;
    if (b->tick != 0 && ticks_ahead(s, b) <= ahead) {
        return; /* it will be looked at before */
    }
    if ((uint16_t)(s->wheel_tick + ahead) == 0) {
        ahead++; /* 0 means not scheduled */
    }
    uint64_t tick = s->wheel_tick + ahead;
    b->tick = (uint16_t)tick;
    push(s, ahead < WHEEL_SLOTS ? &s->wheel[0][tick % WHEEL_SLOTS]
                                : &s->wheel[1][tick / WHEEL_SLOTS % WHEEL_SLOTS],
         index);
}

int64_t wheel_next(const struct shard *s, const unsigned char *it) {
    if (unlikely(item_is_resting(it))) {
        struct key key = {item_key(it), 0, it[1]};
        return s->l1->purging ? shard_rest_end(s, &key, it) : item_last(it);
    }
    return item_is(it, ITEM_TTL) ? item_expire(it) : INT64_MAX;
}

/* When the item is due; one past its deadline, in its grace, rests from now on. */
static int64_t last_of(struct shard *s, unsigned char *it, int64_t now_ms) {
    int64_t deadline = wheel_next(s, it);
    if (deadline <= now_ms && item_is(it, ITEM_TTL) && item_has_extra(it) && !item_is_resting(it) && item_last(it) > now_ms) {
        struct key key = {item_key(it), 0, it[1]};
        key.hash = hash_key(key.name, key.db);
        shard_rest(s, &key, it);
        deadline = item_last(it);
    }
    return deadline;
}

/* Removes the due items of one bucket and schedules the rest. */
static void visit(struct shard *s, uint32_t index, int64_t now_ms) {
    struct bucket *head = shard_bucket(s, index);
    int64_t next = INT64_MAX;
    head->tick = 0;
    bool again;
    do {
        again = false;
        next = INT64_MAX;
        for (struct bucket *b = head; b != NULL && !again; b = bucket_next(s, b)) {
            for (int i = 0; i < bucket_slots(b); i++) {
                unsigned char *it = b->handle[i] != 0 && (b->meta[i] & META_TTL || s->l1->purging) ? slab_at(&s->slab, b->handle[i]) : NULL;
                if (it == NULL || (!(b->meta[i] & META_TTL) && !item_is_resting(it))) {
                    continue;
                }
                int64_t deadline = last_of(s, it, now_ms);
                if (deadline > now_ms) {
                    next = deadline < next ? deadline : next;
                    continue;
                }
                struct key key = {item_key(it), 0, it[1]};
                key.hash = hash_key(key.name, key.db);
                if (!item_is_resting(it)) {
                    shard_lapse(s, &key);
                }
                shard_remove(s, &key, (struct place){b, i});
                again = b != head; /* an overflow bucket may be gone now: look at the chain afresh */
                if (again) {
                    break;
                }
            }
        }
    } while (again);
    if (next != INT64_MAX) {
        wheel_schedule(s, index, next);
    }
}

/* Takes one bucket out of a slot; false when there is none. */
static bool take(struct shard *s, uint32_t *slot, uint32_t *bucket) {
    while (*slot != 0) {
        struct wheel_block *block = slab_at(&s->slab, *slot);
        if (block->count > 0) {
            *bucket = block->bucket[--block->count];
            return true;
        }
        uint32_t h = *slot;
        *slot = block->next;
        slab_free(&s->slab, h);
    }
    return false;
}

/* Buckets of the outer slot move to the inner level, at most about *budget of them; true when all have. */
static bool cascade(struct shard *s, uint32_t *slot, unsigned *budget) {
    for (uint32_t index; *slot != 0 && *budget > 0; --*budget) {
        if (!take(s, slot, &index)) {
            return true;
        }
        if (index >= s->buckets) {
            continue; /* merged since, and its next deadline is on the wheel as the other one's */
        }
        const struct bucket *b = shard_bucket(s, index);
        uint64_t ahead = ticks_ahead(s, b);
        if (b->tick != 0 && ahead < WHEEL_SLOTS) {
            push(s, &s->wheel[0][(s->wheel_tick + ahead) % WHEEL_SLOTS], index);
        }
    }
    return *slot == 0;
}

/* Those due at the wheel's position, at most about *budget of them; true when all are done. */
static bool visit_due(struct shard *s, int64_t now_ms, unsigned *budget) {
    uint32_t *slot = &s->wheel[0][s->wheel_tick % WHEEL_SLOTS];
    for (uint32_t index; *slot != 0 && *budget > 0; --*budget) {
        if (take(s, slot, &index) && index < s->buckets && shard_bucket(s, index)->tick == (uint16_t)s->wheel_tick) {
            visit(s, index, now_ms);
        }
    }
    return *slot == 0;
}

bool wheel_run(struct shard *s, int64_t now_ms, unsigned budget) {
    uint64_t now_tick = (uint64_t)now_ms >> TICK_SHIFT;
    while (s->wheel_tick < now_tick) {
        bool round = s->wheel_tick % WHEEL_SLOTS == 0; /* costs one even when all its slots are empty */
        if (round && (budget-- == 0 || !cascade(s, &s->wheel[1][s->wheel_tick / WHEEL_SLOTS % WHEEL_SLOTS], &budget))) {
            return true;
        }
        if (!visit_due(s, now_ms, &budget)) {
            return true;
        }
        s->wheel_tick++;
        if (now_tick - s->wheel_tick > 4 * TURN) {
            /* the clock leapt: positions repeat, so whole turns can be left out, but for one */
            s->wheel_tick += ((now_tick - s->wheel_tick) & ~(uint64_t)(TURN - 1)) - TURN;
        }
    }
    return false;
}
