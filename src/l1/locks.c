/* SPDX-License-Identifier: BSD-3-Clause */
/* locks: of shards, one or many, and prefetches that need none. */
#include "src/base/check.h"
#include "src/l1/shard.h"

void l1_lock(struct l1 *l1, unsigned shard) {
    struct shard *s = &l1->shards[shard];
    if (unlikely(lock_acquire_late(&s->lock))) {
        atomic_fetch_add_explicit(&s->contended, 1, memory_order_relaxed);
    }
}

void l1_unlock(struct l1 *l1, unsigned shard) {
    lock_release(&l1->shards[shard].lock);
}

uint64_t l1_contended(const struct l1 *l1, unsigned shard) {
    return atomic_load_explicit(&l1->shards[shard].contended, memory_order_relaxed);
}

void l1_lock_all(struct l1 *l1) {
    for (unsigned i = 0; i < l1->shard_count; i++) {
        l1_lock(l1, i);
    }
}

void l1_unlock_all(struct l1 *l1) {
    for (unsigned i = l1->shard_count; i-- > 0;) {
        l1_unlock(l1, i);
    }
}

unsigned l1_shards_of(const struct l1 *l1, const struct key *keys, size_t n, uint16_t *out) {
    uint64_t seen[4096 / 64] = {0};
    for (size_t i = 0; i < n; i++) {
        unsigned shard = l1_shard_of(l1, keys[i].hash);
        seen[shard / 64] |= (uint64_t)1 << (shard % 64);
    }
    unsigned count = 0;
    for (unsigned w = 0; w < (l1->shard_count + 63) / 64; w++) {
        for (uint64_t bits = seen[w]; bits != 0; bits &= bits - 1) {
            out[count++] = (uint16_t)(w * 64 + (unsigned)__builtin_ctzll(bits));
        }
    }
    return count;
}

/* Reads without the lock what a writer may be changing: the results only steer prefetches, every array they index stays
 * mapped, and indexes are checked. */
__attribute__((no_sanitize("thread"))) static const struct bucket *
peek_bucket(const struct shard *s, uint64_t hash) {
    struct bucket *const *segments = __atomic_load_n(&s->segments, __ATOMIC_ACQUIRE);
    uint32_t mask = ((uint32_t)1 << s->level) - 1, i = (uint32_t)(hash >> s->shift) & (mask << 1 | 1);
    i = i < s->buckets ? i : i & mask;
    const struct bucket *segment = i / SEGMENT_BUCKETS < s->segment_cap ? segments[i / SEGMENT_BUCKETS] : NULL;
    return segment != NULL ? segment + i % SEGMENT_BUCKETS : NULL;
}

__attribute__((no_sanitize("thread"))) const struct bucket *l1_prefetch_bucket(const struct l1 *l1, uint64_t hash) {
    const struct bucket *b = peek_bucket(&l1->shards[l1_shard_of(l1, hash)], hash);
    __builtin_prefetch(b);
    return b;
}

__attribute__((no_sanitize("thread"))) void l1_prefetch_item(const struct l1 *l1, uint64_t hash, const struct bucket *b, bool write) {
    const struct shard *s = &l1->shards[l1_shard_of(l1, hash)];
    prefetch_write(&s->lock);
    unsigned bits = b != NULL ? bucket_match(b, hash_tag(hash)) : 0;
    if (bits == 0) {
        return;
    }
    uint32_t handle = b->handle[__builtin_ctz(bits)], chunk = handle / HANDLES_PER_CHUNK;
    char *const *bases = __atomic_load_n(&s->slab.bases, __ATOMIC_ACQUIRE);
    if (chunk < s->slab.chunk_count && bases[chunk] != NULL) {
        const char *p = bases[chunk] + (size_t)(handle % HANDLES_PER_CHUNK) * 8;
        for (int line = 0; line < 3; line++) {
            if (write) {
                prefetch_write(p + line * 64);
            } else {
                __builtin_prefetch(p + line * 64);
            }
        }
    }
}
