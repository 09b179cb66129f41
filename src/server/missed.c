/* SPDX-License-Identifier: BSD-3-Clause */
/* missed: the notes, a word for each slot. */
#include "src/server/missed.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cluster/ring.h"
#include "src/base/check.h"
#include "src/base/lock.h"
#include "src/base/mem.h"
#include "src/guard/purge.h"

/* A note: 0 none; else the number of the write above, the first digits of the owner's id below. */
enum { TAG_BITS = 24, TAG_DIGITS = TAG_BITS / 4, MAP_BYTES = RING_SLOTS * sizeof(uint64_t) };

struct missed {
    _Atomic uint64_t *notes; /* of each slot */
    struct lock lock;        /* MISSED: who writes a note */
    _Atomic uint64_t last;   /* every note up to this one is there */
};

static uint64_t tag_of(const char *id) {
    uint64_t tag = 0;
    for (int i = 0; i < TAG_DIGITS; i++) {
        tag = tag << 4 | ((unsigned char)(id[i] <= '9' ? id[i] - '0' : id[i] - 'a' + 10) & 15);
    }
    return tag;
}

static bool is_of(uint64_t note, uint64_t tag) {
    return note != 0 && (note & ((1u << TAG_BITS) - 1)) == tag;
}

/* ---- life ---- */

static void *map_file(const char *path, struct buf *err) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    void *p = fd >= 0 && ftruncate(fd, MAP_BYTES) == 0 ? mmap(NULL, MAP_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (p == MAP_FAILED) {
        buf_printf(err, "'%s': %s", path, strerror(errno));
    }
    if (fd >= 0) {
        close(fd);
    }
    return p;
}

struct missed *missed_open(const char *path, struct buf *err) {
    struct missed *m = mem_zalloc(sizeof(*m));
    void *p = map_file(path, err);
    if (p == MAP_FAILED) {
        p = mmap(NULL, MAP_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(p != MAP_FAILED);
    }
    m->notes = p;
    lock_init(&m->lock, LOCK_MISSED, 0);
    for (unsigned s = 0; s < RING_SLOTS; s++) {
        uint64_t number = atomic_load(&m->notes[s]) >> TAG_BITS;
        m->last = number > m->last ? number : m->last;
    }
    return m;
}

void missed_close(struct missed **mp) {
    struct missed *m = *mp;
    *mp = NULL;
    munmap((void *)m->notes, MAP_BYTES);
    mem_free(m);
}

/* ---- notes ---- */

static void note_locked(struct missed *m, unsigned slot, uint64_t tag) {
    uint64_t number = atomic_load_explicit(&m->last, memory_order_relaxed) + 1;
    atomic_store_explicit(&m->notes[slot], number << TAG_BITS | tag, memory_order_release);
    atomic_store_explicit(&m->last, number, memory_order_release);
}

void missed_note(struct missed *m, const struct ring *ring, unsigned slot) {
    unsigned owner = ring->owner[slot];
    if (owner != RING_NONE && owner != ring->self) {
        lock_acquire(&m->lock);
        note_locked(m, slot, tag_of(ring->nodes[owner].id));
        lock_release(&m->lock);
    }
}

void missed_note_all(struct missed *m, const struct ring *ring, unsigned node) {
    uint64_t tag = tag_of(ring->nodes[node].id);
    lock_acquire(&m->lock);
    for (unsigned s = 0; s < RING_SLOTS; s++) {
        if (ring->owner[s] == node) {
            note_locked(m, s, tag);
        }
    }
    lock_release(&m->lock);
}

uint64_t missed_last(const struct missed *m) {
    return atomic_load_explicit(&m->last, memory_order_acquire);
}

unsigned missed_since(const struct missed *m, const char *id, uint64_t since, uint8_t *set) {
    uint64_t tag = tag_of(id);
    unsigned n = 0;
    memset(set, 0, PURGE_SLOT_BYTES);
    for (unsigned s = 0; s < RING_SLOTS; s++) {
        uint64_t word = atomic_load_explicit(&m->notes[s], memory_order_acquire);
        if (is_of(word, tag) && word >> TAG_BITS > since) {
            slot_set_put(set, s, true);
            n++;
        }
    }
    return n;
}

void missed_dropped(struct missed *m, const char *id, const uint8_t *set, uint64_t upto) {
    uint64_t tag = tag_of(id);
    for (unsigned s = 0; s < RING_SLOTS; s++) {
        uint64_t word = slot_set_has(set, s) ? atomic_load(&m->notes[s]) : 0;
        if (is_of(word, tag) && word >> TAG_BITS <= upto) {
            (void)atomic_compare_exchange_strong(&m->notes[s], &word, 0); /* else it has been written once more */
        }
    }
}
