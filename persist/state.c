/* SPDX-License-Identifier: BSD-3-Clause */
/* state: the mapped file. A note is written whole before the ring's head moves over it, so a kill leaves it there or not. */
#include "persist/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/check.h"
#include "src/base/mem.h"
#include "src/base/rng.h"

#define MAGIC "StrataL2"
enum { FORMAT = 2 /* 2: records say when they were written */, HEADER_BYTES = 16384, ENTRY_HEAD = 8 };
#define WRAP UINT32_MAX /* length of the entry that sends the reader back to the start */

struct ring {
    _Atomic uint64_t head, tail; /* bytes ever noted and forgotten; offsets modulo the size */
    _Atomic uint64_t uncounted;  /* changes queued without a note */
    uint64_t spare[5];
};

struct header {
    char magic[8];
    uint32_t format, lanes;
    uint64_t ring_bytes, hash_seed;
    _Atomic uint32_t clean, distrust, next_generation;
    _Atomic uint32_t maps_set; /* the last bit says which of the two maps counts */
    uint8_t map[STATE_LOGICAL];
    _Atomic uint32_t generation[STATE_PHYSICAL];
    uint64_t count[STATE_PHYSICAL];
    struct ring rings[STATE_LANES];
    uint8_t other_map[STATE_LOGICAL];
};
_Static_assert(sizeof(struct header) <= HEADER_BYTES, "the header's room");

struct state {
    int fd;
    size_t bytes;
    struct header *h;
    const char *why; /* dropped at open */
    _Atomic uint64_t overflows;
};

static char *ring_base(const struct state *s, unsigned lane) {
    return (char *)s->h + HEADER_BYTES + lane * s->h->ring_bytes;
}

static uint64_t ring_size(size_t journal_bytes) {
    uint64_t n = journal_bytes / STATE_LANES & ~(uint64_t)4095;
    return n < 65536 ? 65536 : n;
}

static void make_fresh(struct state *s, uint64_t ring_bytes) {
    struct header *h = s->h;
    memset(h, 0, sizeof(*h));
    h->format = FORMAT;
    h->lanes = STATE_LANES;
    h->ring_bytes = ring_bytes;
    rng_system(&h->hash_seed, sizeof(h->hash_seed));
    atomic_store(&h->distrust, 1);
    atomic_store(&h->next_generation, 1);
    for (unsigned i = 0; i < STATE_LOGICAL; i++) {
        h->map[i] = (uint8_t)i;
        state_renew(s, (uint8_t)i);
    }
    memcpy(h->magic, MAGIC, sizeof(h->magic)); /* last: half a header is no header */
}

static bool rings_sound(const struct state *s) {
    for (unsigned i = 0; i < STATE_LANES; i++) {
        uint64_t head = atomic_load(&s->h->rings[i].head), tail = atomic_load(&s->h->rings[i].tail);
        if (tail > head || head - tail > s->h->ring_bytes || head % 8 != 0 || tail % 8 != 0) {
            return false;
        }
    }
    return true;
}

/* NULL: it may be adopted. */
static const char *why_not(const struct state *s) {
    bool counted = false;
    for (unsigned i = 0; i < STATE_LANES; i++) {
        counted |= atomic_load(&s->h->rings[i].uncounted) != 0;
    }
    return !rings_sound(s)                             ? "its journal is damaged"
           : atomic_load(&s->h->distrust) != 0         ? "it was bypassed when the server ended"
           : counted && atomic_load(&s->h->clean) == 0 ? "killed with more changes than the journal had room for"
                                                       : NULL;
}

static enum state_kind judge(struct state *s) {
    s->why = why_not(s);
    return s->why != NULL ? STATE_DROPPED : atomic_load(&s->h->clean) ? STATE_CLEAN : STATE_KILLED;
}

/* Maps at least the header; the size of an existing file comes from its own header. */
static bool map_file(struct state *s, size_t bytes) {
    if (ftruncate(s->fd, (off_t)bytes) != 0) {
        return false;
    }
    errno = posix_fallocate(s->fd, 0, (off_t)bytes); /* a hole that a full device cannot fill would be a SIGBUS at the first note */
    if (errno != 0) {
        return false;
    }
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, s->fd, 0);
    if (p == MAP_FAILED) {
        return false;
    }
    s->h = p;
    s->bytes = bytes;
    return true;
}

static bool open_locked(struct state *s, const char *path, char *err, size_t errcap) {
    s->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (s->fd < 0) {
        snprintf(err, errcap, "'%s' cannot be opened: %s", path, strerror(errno));
        return false;
    }
    if (flock(s->fd, LOCK_EX | LOCK_NB) != 0) {
        snprintf(err, errcap, "'%s' is in use by another server: give each server a dir of its own", path);
        close(s->fd);
        return false;
    }
    return true;
}

struct state *state_open(const char *path, size_t journal_bytes, enum state_kind *kind, char *err, size_t errcap) {
    struct state *s = mem_zalloc(sizeof(*s));
    struct header old = {0};
    if (!open_locked(s, path, err, errcap)) {
        mem_free(s);
        return NULL;
    }
    ssize_t got = pread(s->fd, &old, sizeof(old), 0);
    bool known = got == (ssize_t)sizeof(old) && memcmp(old.magic, MAGIC, sizeof(old.magic)) == 0;
    if (known && (old.format != FORMAT || old.lanes != STATE_LANES)) {
        snprintf(err, errcap, "'%s' has format %u, this server writes format %d: use the server that wrote it, or remove "
                 "the directory to start with an empty disk tier", path, old.format, FORMAT);
        close(s->fd);
        mem_free(s);
        return NULL;
    }
    struct stat st;
    bool whole = known && fstat(s->fd, &st) == 0 && old.ring_bytes % 4096 == 0 && old.ring_bytes < (uint64_t)1 << 40 &&
                 (uint64_t)st.st_size == HEADER_BYTES + STATE_LANES * old.ring_bytes;
    uint64_t ring = ring_size(journal_bytes);
    if (!map_file(s, HEADER_BYTES + STATE_LANES * (whole ? old.ring_bytes : ring))) {
        snprintf(err, errcap, "'%s' cannot be mapped: %s", path, strerror(errno));
        close(s->fd);
        mem_free(s);
        return NULL;
    }
    s->why = "its state file is damaged";
    *kind = whole ? judge(s) : got <= 0 ? STATE_FRESH : STATE_DROPPED;
    if (*kind == STATE_FRESH || *kind == STATE_DROPPED) {
        make_fresh(s, whole ? old.ring_bytes : ring);
    }
    atomic_store(&s->h->clean, 0);
    return s;
}

void state_close(struct state **sp, bool orderly) {
    struct state *s = *sp;
    *sp = NULL;
    if (orderly) {
        atomic_store(&s->h->clean, 1);
    }
    munmap(s->h, s->bytes);
    close(s->fd);
    mem_free(s);
}

const char *state_why_dropped(const struct state *s) {
    return s->why;
}

uint64_t state_hash_seed(const struct state *s) {
    return s->h->hash_seed;
}

/* ---- databases ---- */

static uint8_t *map_at(const struct state *s, uint32_t maps_set) {
    return maps_set % 2 == 0 ? s->h->map : s->h->other_map;
}

const uint8_t *state_map(const struct state *s) {
    return map_at(s, atomic_load(&s->h->maps_set));
}

void state_set_map(struct state *s, const uint8_t *map) {
    uint32_t next = atomic_load(&s->h->maps_set) + 1;
    for (unsigned i = 0; i < STATE_LOGICAL; i++) {
        __atomic_store_n(&map_at(s, next)[i], map[i], __ATOMIC_RELEASE); /* whoever reads it sees the last maps_set */
    }
    atomic_store(&s->h->maps_set, next);
}

uint32_t state_generation(const struct state *s, uint8_t physical) {
    return atomic_load_explicit(&s->h->generation[physical], memory_order_relaxed);
}

void state_renew(struct state *s, uint8_t physical) {
    uint32_t g = atomic_fetch_add(&s->h->next_generation, 1);
    atomic_store(&s->h->generation[physical], g);
    s->h->count[physical] = 0;
}

bool state_is_live(const struct state *s, uint32_t generation) {
    uint32_t maps_set;
    do { /* again when the map was replaced meanwhile */
        maps_set = atomic_load(&s->h->maps_set);
        for (unsigned i = 0; i < STATE_LOGICAL; i++) {
            uint8_t physical = __atomic_load_n(&map_at(s, maps_set)[i], __ATOMIC_ACQUIRE);
            if (atomic_load_explicit(&s->h->generation[physical], memory_order_relaxed) == generation) {
                return true;
            }
        }
    } while (atomic_load(&s->h->maps_set) != maps_set);
    return false;
}

unsigned state_live(const struct state *s, uint32_t *out) {
    uint32_t maps_set;
    unsigned n;
    do { /* again when the map was replaced meanwhile */
        maps_set = atomic_load(&s->h->maps_set);
        for (n = 0; n < STATE_LOGICAL; n++) {
            uint8_t physical = __atomic_load_n(&map_at(s, maps_set)[n], __ATOMIC_ACQUIRE);
            uint32_t g = atomic_load_explicit(&s->h->generation[physical], memory_order_relaxed);
            unsigned at = n;
            for (; at > 0 && out[at - 1] > g; at--) {
                out[at] = out[at - 1];
            }
            out[at] = g;
        }
    } while (atomic_load(&s->h->maps_set) != maps_set);
    return n;
}

uint64_t state_count(const struct state *s, uint8_t physical) {
    return s->h->count[physical];
}

void state_set_count(struct state *s, uint8_t physical, uint64_t n) {
    s->h->count[physical] = n;
}

/* ---- journals ---- */

static uint64_t entry_bytes(uint64_t n) {
    return (ENTRY_HEAD + n + 7) & ~(uint64_t)7;
}

uint64_t state_note(struct state *s, unsigned lane, struct slice key) {
    struct ring *r = &s->h->rings[lane];
    uint64_t size = s->h->ring_bytes, need = entry_bytes(key.n);
    uint64_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    uint64_t used = head - atomic_load_explicit(&r->tail, memory_order_relaxed);
    uint64_t at = head % size, skip = at + need > size ? size - at : 0;
    if (need > size / 2 || used + skip + need > size) {
        atomic_fetch_add(&r->uncounted, 1);
        atomic_fetch_add_explicit(&s->overflows, 1, memory_order_relaxed);
        return 0;
    }
    char *base = ring_base(s, lane);
    if (skip > 0) {
        uint32_t wrap = WRAP;
        memcpy(base + at, &wrap, sizeof(wrap)); /* entries are aligned to 8: there is room */
        at = 0;
    }
    uint32_t n = (uint32_t)key.n;
    memcpy(base + at, &n, sizeof(n));
    memcpy(base + at + ENTRY_HEAD, key.p, key.n);
    atomic_store_explicit(&r->head, head + skip + need, memory_order_release);
    return head + skip + need;
}

void state_forget(struct state *s, unsigned lane, uint64_t position) {
    struct ring *r = &s->h->rings[lane];
    if (position == 0) {
        atomic_fetch_sub(&r->uncounted, 1);
    } else {
        atomic_store_explicit(&r->tail, position, memory_order_release);
    }
}

bool state_each_note(struct state *s, void (*fn)(void *ctx, struct slice record_key), void *ctx) {
    uint64_t size = s->h->ring_bytes;
    bool whole = true;
    for (unsigned lane = 0; lane < STATE_LANES; lane++) {
        const char *base = ring_base(s, lane);
        uint64_t head = atomic_load(&s->h->rings[lane].head);
        for (uint64_t at = atomic_load(&s->h->rings[lane].tail); at < head;) {
            uint32_t n;
            memcpy(&n, base + at % size, sizeof(n));
            if (n == WRAP) {
                at += size - at % size;
                continue;
            }
            if (entry_bytes(n) > size - at % size) {
                state_distrust(s, true); /* damaged: nothing behind it can be read */
                whole = false;
                break;
            }
            fn(ctx, slice_make(base + at % size + ENTRY_HEAD, n));
            at += entry_bytes(n);
        }
    }
    return whole;
}

void state_forget_all(struct state *s) {
    for (unsigned lane = 0; lane < STATE_LANES; lane++) {
        struct ring *r = &s->h->rings[lane];
        atomic_store(&r->tail, atomic_load(&r->head));
        atomic_store(&r->uncounted, 0);
    }
}

void state_distrust(struct state *s, bool distrust) {
    atomic_store(&s->h->distrust, distrust ? 1 : 0);
}

uint64_t state_noted_bytes(const struct state *s) {
    uint64_t n = 0;
    for (unsigned lane = 0; lane < STATE_LANES; lane++) {
        n += atomic_load(&s->h->rings[lane].head) - atomic_load(&s->h->rings[lane].tail);
    }
    return n;
}

uint64_t state_overflows(const struct state *s) {
    return atomic_load_explicit(&s->overflows, memory_order_relaxed);
}

void state_sync(struct state *s) {
    msync(s->h, HEADER_BYTES, MS_SYNC);
}
