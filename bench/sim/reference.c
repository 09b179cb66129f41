/* SPDX-License-Identifier: BSD-3-Clause */
/* reference: LRU and S3-FIFO over doubly linked queues, Belady over a heap, indexed by the keys' numbers in the trace. An item that is
 * larger than the whole cache is not stored. */
#include "bench/sim/reference.h"

#include "bench/load/trace.h"
#include "src/base/mem.h"

enum { NOWHERE, SMALL, MAIN, GHOST, QUEUES };
enum { FREQ_MAX = 3, SMALL_PERCENT = 10 };
#define END UINT32_MAX

struct entry {
    uint32_t next, prev;
    uint8_t queue, freq;
    uint64_t cost;
};

struct queue {
    uint32_t head, tail; /* head: newest */
    uint64_t cost, items;
};

struct lists {
    struct sim_cache base;
    struct entry *entries;
    struct queue queues[QUEUES];
    unsigned promote_at;
};

static void unlink_entry(struct lists *l, uint32_t id) {
    struct entry *e = &l->entries[id];
    struct queue *q = &l->queues[e->queue];
    *(e->prev == END ? &q->head : &l->entries[e->prev].next) = e->next;
    *(e->next == END ? &q->tail : &l->entries[e->next].prev) = e->prev;
    q->cost -= e->cost;
    q->items--;
    e->queue = NOWHERE;
}

static void push(struct lists *l, uint32_t id, uint8_t queue) {
    struct entry *e = &l->entries[id];
    struct queue *q = &l->queues[queue];
    e->queue = queue;
    e->prev = END;
    e->next = q->head;
    *(q->head == END ? &q->tail : &l->entries[q->head].prev) = id;
    q->head = id;
    q->cost += e->cost;
    q->items++;
}

static struct sim_cache *lists_open(const struct sim_setup *setup, const struct sim_kind *kind, unsigned promote_at) {
    struct lists *l = mem_zalloc(sizeof(*l));
    l->base = (struct sim_cache){kind, *setup};
    l->entries = mem_zalloc(setup->trace->keys * sizeof(*l->entries));
    for (int i = 0; i < QUEUES; i++) {
        l->queues[i].head = l->queues[i].tail = END;
    }
    l->promote_at = promote_at;
    return &l->base;
}

static void lists_close(struct sim_cache *c) {
    struct lists *l = (struct lists *)c;
    mem_free(l->entries);
    mem_free(l);
}

static uint64_t lists_items(const struct sim_cache *c) {
    const struct lists *l = (const struct lists *)c;
    return l->queues[SMALL].items + l->queues[MAIN].items;
}

/* ---- LRU: one queue ---- */

static struct sim_cache *lru_open(const struct sim_setup *setup) {
    return lists_open(setup, &reference_lru, 0);
}

static bool lru_request(struct sim_cache *c, const struct trace_record *r) {
    struct lists *l = (struct lists *)c;
    struct entry *e = &l->entries[r->id];
    if (e->queue == MAIN) {
        unlink_entry(l, r->id);
        push(l, r->id, MAIN);
        return true;
    }
    e->cost = sim_cost(&c->setup, r);
    if (e->cost <= c->setup.capacity) {
        while (l->queues[MAIN].cost + e->cost > c->setup.capacity) {
            unlink_entry(l, l->queues[MAIN].tail);
        }
        push(l, r->id, MAIN);
    }
    return false;
}

/* ---- S3-FIFO ---- */

static struct sim_cache *s3fifo_open(const struct sim_setup *setup) {
    return lists_open(setup, &reference_s3fifo, 2);
}

static struct sim_cache *s3fifo_eager_open(const struct sim_setup *setup) {
    return lists_open(setup, &reference_s3fifo_eager, 1);
}

static void evict_main(struct lists *l) {
    for (;;) {
        uint32_t id = l->queues[MAIN].tail;
        unlink_entry(l, id);
        if (l->entries[id].freq == 0) {
            return;
        }
        l->entries[id].freq--;
        push(l, id, MAIN);
    }
}

/* Promotes until something goes to the ghost, or the small queue is empty. */
static void evict_small(struct lists *l) {
    uint64_t room = l->base.setup.capacity - l->base.setup.capacity * SMALL_PERCENT / 100;
    while (l->queues[SMALL].tail != END) {
        uint32_t id = l->queues[SMALL].tail;
        struct entry *e = &l->entries[id];
        unlink_entry(l, id);
        if (e->freq < l->promote_at) {
            while (l->queues[GHOST].cost + e->cost > room && l->queues[GHOST].tail != END) {
                unlink_entry(l, l->queues[GHOST].tail);
            }
            push(l, id, GHOST);
            return;
        }
        e->freq = 0;
        push(l, id, MAIN);
        if (l->queues[MAIN].cost > room) {
            evict_main(l);
            return;
        }
    }
}

static bool s3fifo_request(struct sim_cache *c, const struct trace_record *r) {
    struct lists *l = (struct lists *)c;
    struct entry *e = &l->entries[r->id];
    if (e->queue == SMALL || e->queue == MAIN) {
        e->freq += e->freq < FREQ_MAX;
        return true;
    }
    bool known = e->queue == GHOST;
    if (known) {
        unlink_entry(l, r->id);
    }
    e->cost = sim_cost(&c->setup, r);
    e->freq = 0;
    if (e->cost > c->setup.capacity) {
        return false;
    }
    while (l->queues[SMALL].cost + l->queues[MAIN].cost + e->cost > c->setup.capacity) {
        bool small = l->queues[MAIN].tail == END ||
                     l->queues[SMALL].cost * 100 >= c->setup.capacity * SMALL_PERCENT;
        if (small && l->queues[SMALL].tail != END) {
            evict_small(l);
        } else {
            evict_main(l);
        }
    }
    push(l, r->id, known ? MAIN : SMALL);
    return false;
}

/* ---- Belady: a heap by next use ---- */

struct oracle {
    struct sim_cache base;
    uint32_t *next_use; /* of each request: index of the same key's next one */
    uint32_t *place;    /* by key: 1 + index in heap, 0 when absent */
    uint32_t *heap;     /* keys, farthest next use first */
    uint32_t *due;      /* by key: its next use */
    uint64_t *cost;     /* by key */
    uint32_t n;
    uint64_t at, held;
};

static struct sim_cache *belady_open(const struct sim_setup *setup) {
    const struct trace *t = setup->trace;
    struct oracle *o = mem_zalloc(sizeof(*o));
    o->base = (struct sim_cache){&reference_belady, *setup};
    o->next_use = mem_alloc(t->n * sizeof(*o->next_use));
    o->place = mem_zalloc(t->keys * sizeof(*o->place));
    o->heap = mem_zalloc(t->keys * sizeof(*o->heap));
    o->due = mem_alloc(t->keys * sizeof(*o->due));
    o->cost = mem_zalloc(t->keys * sizeof(*o->cost));
    for (uint32_t k = 0; k < t->keys; k++) {
        o->due[k] = END;
    }
    for (uint64_t i = t->n; i-- > 0;) {
        o->next_use[i] = o->due[t->records[i].id];
        o->due[t->records[i].id] = (uint32_t)i;
    }
    return &o->base;
}

static void belady_close(struct sim_cache *c) {
    struct oracle *o = (struct oracle *)c;
    mem_free(o->next_use);
    mem_free(o->place);
    mem_free(o->heap);
    mem_free(o->due);
    mem_free(o->cost);
    mem_free(o);
}

static uint64_t belady_items(const struct sim_cache *c) {
    return ((const struct oracle *)c)->n;
}

static void heap_set(struct oracle *o, uint32_t i, uint32_t key) {
    o->heap[i] = key;
    o->place[key] = i + 1;
}

/* Moves the key up from i as far as it goes: a key's next use only grows later while it is in the cache. */
static void heap_up(struct oracle *o, uint32_t i, uint32_t key) {
    while (i > 0 && o->due[o->heap[(i - 1) / 2]] < o->due[key]) {
        heap_set(o, i, o->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    heap_set(o, i, key);
}

static void heap_pop(struct oracle *o) {
    uint32_t gone = o->heap[0], key = o->heap[--o->n], i = 0;
    o->place[gone] = 0;
    o->held -= o->cost[gone];
    while (o->n > 0) {
        uint32_t child = 2 * i + 1;
        child += child + 1 < o->n && o->due[o->heap[child + 1]] > o->due[o->heap[child]];
        if (child >= o->n || o->due[o->heap[child]] <= o->due[key]) {
            heap_set(o, i, key);
            return;
        }
        heap_set(o, i, o->heap[child]);
        i = child;
    }
}

static bool belady_request(struct sim_cache *c, const struct trace_record *r) {
    struct oracle *o = (struct oracle *)c;
    o->due[r->id] = o->next_use[o->at++];
    if (o->place[r->id] != 0) {
        heap_up(o, o->place[r->id] - 1, r->id);
        return true;
    }
    o->cost[r->id] = sim_cost(&c->setup, r);
    o->held += o->cost[r->id];
    heap_up(o, o->n++, r->id);
    while (o->held > c->setup.capacity) {
        heap_pop(o); /* perhaps the new one itself */
    }
    return false;
}

const struct sim_kind reference_lru = {
    .name = "ref-lru", .open = lru_open, .close = lists_close, .request = lru_request, .items = lists_items};
const struct sim_kind reference_s3fifo = {
    .name = "ref-s3fifo", .open = s3fifo_open, .close = lists_close, .request = s3fifo_request, .items = lists_items};
const struct sim_kind reference_s3fifo_eager = {
    .name = "ref-s3fifo-1", .open = s3fifo_eager_open, .close = lists_close, .request = s3fifo_request, .items = lists_items};
const struct sim_kind reference_belady = {
    .name = "ref-belady", .open = belady_open, .close = belady_close, .request = belady_request, .items = belady_items};
