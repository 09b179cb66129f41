/* SPDX-License-Identifier: BSD-3-Clause */
/* ring_place: weighted rendezvous hashing with bounds on both sides. Each slot prefers nodes in the order of a score of the two. Nodes have
 * a most and a least number of slots. A node that too many slots prefer keeps those that score best with it, and the others go on to the
 * node they prefer next: the stable matching of slots and nodes, of which there is one, in whatever order it is found. A node that then has
 * too few takes those that score best with it from nodes that can spare them. So a change of the set moves little besides what it must.
 *
 * A node's scores are a permutation of the slots, not independent draws: that alone halves the variance of the loads. Slots of one run
 * score alike, and so stay together but for those at a bound. */
#include "cluster/ring_place.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/ring.h"
#include "src/base/check.h"
#include "src/base/mem.h"

enum {
    ROUNDS = 4, /* of the permutation */
    SLOT_BITS = 14,
    SLACK_SHARE = 40,       /* a node may have a fortieth more or less than its share; */
    SLACK_FOURTH_ROOTS = 9, /* nine times the share's fourth root, where that is more: to meet small shares closely moves much, */
    SLACK_SLOTS = 40,       /* but for that at most so many */
    PART = 1024,            /* when lots are weighed, loads are off their share by so many of these parts of it, */
    MOST_PARTS = 4096,      /* more are the same */
    OVER_FACTOR = 4,        /* too much is worse than too little: it is what moves when the node goes */
    OWN_FACTOR = 8,         /* the joiner's own load moves now */
    TAKERS_MOST = 128,      /* of nodes that join at once, so many lots are found before one's own: each takes milliseconds, */
    TAKERS_MOST_UNEVEN = 4  /* with different weights, some hundredths of a second. Others are taken to have lot 0 */
};

struct candidate {
    uint64_t key;
    uint16_t mul[ROUNDS], add[ROUNDS];
    uint16_t weight, index;
};

/* Smaller is better. */
struct score {
    uint64_t cost, tie;
};

struct placing {
    struct candidate *candidates;
    unsigned n, run;
    bool even;       /* all weights are the same */
    uint16_t *owner; /* index of a candidate */
    unsigned *count, *least, *most;
};

/* A slot and its score with the node in question. */
struct rated {
    struct score score;
    uint16_t slot;
};

/* ---- scores ---- */

/* Steele et al. 2014, the finaliser of splitmix64. */
static uint64_t mix(uint64_t v) {
    v = (v ^ v >> 30) * 0xbf58476d1ce4e5b9ULL;
    v = (v ^ v >> 27) * 0x94d049bb133111ebULL;
    return v ^ v >> 31;
}

static void candidate_init(struct candidate *c, const struct ring_node *node, unsigned lot, uint16_t weight, unsigned index) {
    uint64_t key = 0, word = 0;
    for (unsigned i = 0; i < NODE_ID_HEX; i++) {
        word = word << 8 | (unsigned char)node->id[i];
        key = i % 8 == 7 ? mix(key + word + 0x9e3779b97f4a7c15ULL) : key;
    }
    key = lot == 0 ? key : mix(key + lot * 0xa0761d6478bd642fULL);
    c->key = key;
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t v = mix(key + (uint64_t)(i + 1) * 0xd1b54a32d192ed03ULL);
        c->mul[i] = (uint16_t)(v | 1);
        c->add[i] = (uint16_t)(v >> 32);
    }
    c->weight = weight;
    c->index = (uint16_t)index;
}

/* Different for each of 2^bits runs. */
static unsigned first_bits(const struct candidate *c, unsigned run, unsigned bits) {
    unsigned x = run;
    for (int i = 0; i < ROUNDS; i++) {
        x = (x * c->mul[i] + c->add[i]) & ((1U << bits) - 1);
        x ^= x >> (bits / 2);
    }
    return x;
}

/* 64 bits, evenly spread. */
static uint64_t draw(const struct candidate *c, unsigned run, unsigned bits) {
    return (uint64_t)first_bits(c, run, bits) << (64 - bits) | mix(c->key + run) >> bits;
}

/* -log2(u / 2^64), u > 0, in units of 2^-40: log2(a) = 2/ln(2) atanh((a-1)/(a+1)) for a between the roots of 1/2 and 2. */
static uint64_t minus_log(uint64_t u) {
    static const uint64_t ROOT_OF_2 = 0xb504f333f9de6484; /* in units of 2^-63, the one below of 2^-30, others of 2^-32 */
    static const uint64_t TWO_BY_LN_2 = 3098164009;
    uint64_t shift = (uint64_t)__builtin_clzll(u), m = u << shift, half = m >> 1, one = (uint64_t)1 << 63;
    bool below = m > ROOT_OF_2; /* then a is m / 2^64, below one, else m / 2^63 */
    uint64_t z = below ? (one - half) / ((one + half) >> 32) : (half - (one >> 1)) / ((half + (one >> 1)) >> 32);
    uint64_t z2 = z * z >> 32, series = 613566757 + (z2 * 477218588 >> 32); /* 1/7, 1/9 */
    series = 858993459 + (z2 * series >> 32);                             /* 1/5 */
    series = 1431655765 + (z2 * series >> 32);                            /* 1/3 */
    uint64_t atanh = z + (z * (z2 * series >> 32) >> 32), log = atanh * TWO_BY_LN_2 >> 22;
    return below ? (shift << 40) + log : ((shift + 1) << 40) - log;
}

static struct score score_of(const struct placing *p, const struct candidate *c, unsigned slot) {
    uint64_t u = draw(c, slot >> p->run, SLOT_BITS - p->run) | 1;
    return (struct score){p->even ? 0 : (minus_log(u) << 17) / c->weight, ~u};
}

static bool score_less(struct score a, struct score b) {
    return a.cost != b.cost ? a.cost < b.cost : a.tie < b.tie;
}

/* The node this slot prefers, of those behind the one at `behind`, which scores `bar`. Same scores: by index. */
static unsigned best_behind(const struct placing *p, unsigned slot, const struct score *bar, unsigned behind) {
    unsigned best = RING_NONE;
    struct score best_score = {0, 0};
    for (unsigned i = 0; i < p->n; i++) {
        struct score s = score_of(p, &p->candidates[i], slot);
        bool allowed = bar == NULL || score_less(*bar, s) || (!score_less(s, *bar) && i > behind);
        if (allowed && (best == RING_NONE || score_less(s, best_score))) {
            best = i;
            best_score = s;
        }
    }
    return best;
}

/* ---- bounds ---- */

static uint64_t root(uint64_t v) {
    uint64_t r = 0;
    for (uint64_t bit = (uint64_t)1 << 31; bit > 0; bit >>= 1) {
        r |= (r | bit) * (r | bit) <= v ? bit : 0;
    }
    return r;
}

static void set_bounds(struct placing *p) {
    uint64_t total = 0;
    for (unsigned i = 0; i < p->n; i++) {
        total += p->candidates[i].weight;
    }
    for (unsigned i = 0; i < p->n; i++) {
        uint64_t share = (uint64_t)RING_SLOTS * 256 * p->candidates[i].weight / total; /* in 256ths, as the slack */
        uint64_t slack = share / SLACK_SHARE, roots = root(root(share << 24)) * SLACK_FOURTH_ROOTS;
        roots = roots < SLACK_SLOTS * 256 ? roots : SLACK_SLOTS * 256;
        slack = slack > roots ? slack : roots;
        p->most[i] = (unsigned)((share + slack) / 256);
        p->least[i] = (unsigned)((share > slack ? share - slack + 255 : 0) / 256);
    }
}

/* ---- the matching ---- */

static int compare_rated(const void *a, const void *b) {
    const struct rated *x = a, *y = b;
    return score_less(x->score, y->score) ? -1 : score_less(y->score, x->score) ? 1 : (int)x->slot - (int)y->slot;
}

/* The slots of each node, best first: slots of node i are from[i] up to from[i + 1]. */
static void sort_by_owner(const struct placing *p, uint16_t *slots, unsigned *from) {
    memset(from, 0, (p->n + 2) * sizeof(*from));
    for (unsigned slot = 0; slot < RING_SLOTS; slot++) {
        from[p->owner[slot] + 2]++;
    }
    for (unsigned i = 0; i < p->n; i++) {
        from[i + 2] += from[i + 1];
    }
    for (unsigned slot = 0; slot < RING_SLOTS; slot++) {
        slots[from[p->owner[slot] + 1]++] = (uint16_t)slot;
    }
}

static void give(struct placing *p, unsigned slot, unsigned to) {
    p->count[p->owner[slot]]--;
    p->count[to]++;
    p->owner[slot] = (uint16_t)to;
}

/* Of these slots of node i, those beyond its bound go on. */
static void shed(struct placing *p, unsigned i, const uint16_t *slots, unsigned n, struct rated *rated) {
    for (unsigned k = 0; k < n; k++) {
        rated[k] = (struct rated){score_of(p, &p->candidates[i], slots[k]), slots[k]};
    }
    qsort(rated, n, sizeof(*rated), compare_rated);
    for (unsigned k = p->most[i]; k < n; k++) {
        unsigned to = best_behind(p, rated[k].slot, &rated[k].score, i);
        CHECK(to != RING_NONE); /* the bounds have room for all */
        give(p, rated[k].slot, to);
    }
}

static void match(struct placing *p, struct rated *rated) {
    uint16_t *slots = mem_alloc(RING_SLOTS * sizeof(*slots));
    unsigned *from = mem_alloc((p->n + 2) * sizeof(*from));
    for (unsigned slot = 0; slot < RING_SLOTS; slot++) {
        p->owner[slot] = (uint16_t)best_behind(p, slot, NULL, 0);
        p->count[p->owner[slot]]++;
    }
    for (bool again = true; again;) {
        again = false;
        sort_by_owner(p, slots, from);
        for (unsigned i = 0; i < p->n; i++) {
            if (from[i + 1] - from[i] > p->most[i]) {
                shed(p, i, slots + from[i], from[i + 1] - from[i], rated);
                again = true;
            }
        }
    }
    mem_free(slots);
    mem_free(from);
}

/* ---- the lower bound ---- */

/* A node that has too few, and the slots it would take: a heap, the best on top. */
struct taker {
    unsigned node, n;
    struct rated *heap;
};

static void sink(struct rated *heap, unsigned n, unsigned at) {
    struct rated r = heap[at];
    for (unsigned child; (child = 2 * at + 1) < n; at = child) {
        child += child + 1 < n && compare_rated(&heap[child + 1], &heap[child]) < 0;
        if (compare_rated(&r, &heap[child]) <= 0) {
            break;
        }
        heap[at] = heap[child];
    }
    heap[at] = r;
}

static struct taker taker_create(const struct placing *p, unsigned i) {
    struct taker t = {i, RING_SLOTS, mem_alloc(RING_SLOTS * sizeof(*t.heap))};
    for (unsigned slot = 0; slot < RING_SLOTS; slot++) {
        t.heap[slot] = (struct rated){score_of(p, &p->candidates[i], slot), (uint16_t)slot};
    }
    for (unsigned at = RING_SLOTS / 2; at-- > 0;) {
        sink(t.heap, t.n, at);
    }
    return t;
}

/* The next slot the taker could have; NULL when there is none. Who cannot spare one now never can: donors only lose. */
static const struct rated *next_of(const struct placing *p, struct taker *t) {
    while (t->n > 0) {
        unsigned owner = p->owner[t->heap[0].slot];
        if (owner != t->node && p->count[owner] > p->least[owner]) {
            return &t->heap[0];
        }
        t->heap[0] = t->heap[--t->n];
        sink(t->heap, t->n, 0);
    }
    return NULL;
}

static bool take_best(struct placing *p, struct taker *takers, unsigned n) {
    const struct rated *best = NULL;
    unsigned to = 0;
    for (unsigned i = 0; i < n; i++) {
        if (p->count[takers[i].node] >= p->least[takers[i].node]) {
            continue;
        }
        const struct rated *r = next_of(p, &takers[i]);
        if (r != NULL && (best == NULL || score_less(r->score, best->score))) {
            best = r;
            to = takers[i].node;
        }
    }
    if (best != NULL) {
        give(p, best->slot, to);
    }
    return best != NULL;
}

static void fill_up(struct placing *p) {
    struct taker *takers = mem_alloc(p->n * sizeof(*takers));
    unsigned n = 0;
    for (unsigned i = 0; i < p->n; i++) {
        if (p->count[i] < p->least[i]) {
            takers[n++] = taker_create(p, i);
        }
    }
    while (take_best(p, takers, n)) {
    }
    for (unsigned i = 0; i < n; i++) {
        mem_free(takers[i].heap);
    }
    mem_free(takers);
}

/* ---- the whole ---- */

static void placing_init(struct placing *p, const struct ring_node *nodes, const uint16_t *weights, unsigned n, unsigned run) {
    *p = (struct placing){.run = run, .candidates = mem_alloc(n * sizeof(*p->candidates)), .even = true};
    for (unsigned i = 0; i < n; i++) {
        if (weights[i] > 0) {
            candidate_init(&p->candidates[p->n++], &nodes[i], nodes[i].lot, weights[i], i);
            p->even &= weights[i] == p->candidates[0].weight;
        }
    }
    CHECK(p->n > 0);
}

void ring_place(const struct ring_node *nodes, const uint16_t *weights, unsigned n, unsigned run, uint16_t *owner) {
    struct placing p;
    placing_init(&p, nodes, weights, n, run);
    unsigned *numbers = mem_zalloc(3 * p.n * sizeof(*numbers));
    struct rated *rated = mem_alloc(RING_SLOTS * sizeof(*rated));
    p.owner = owner;
    p.count = numbers;
    p.least = numbers + p.n;
    p.most = numbers + 2 * p.n;
    set_bounds(&p);
    match(&p, rated);
    fill_up(&p);
    for (unsigned slot = 0; slot < RING_SLOTS; slot++) {
        owner[slot] = p.candidates[owner[slot]].index;
    }
    mem_free(rated);
    mem_free(numbers);
    mem_free(p.candidates);
}

/* ---- the lots of nodes that join ---- */

/* What each slot has without the joiner. */
struct held {
    struct score score;
    unsigned by;
    uint16_t bar; /* of equal weights, whoever's first bits are below these scores worse: most need no more than a look */
};

static bool takes(const struct placing *p, const struct candidate *joiner, const struct held *held, unsigned slot) {
    unsigned bits = SLOT_BITS - p->run;
    return (!p->even || first_bits(joiner, slot >> p->run, bits) >= held->bar) && score_less(score_of(p, joiner, slot), held->score);
}

static void hold(const struct placing *p, struct held *held, unsigned by, unsigned slot) {
    const struct candidate *c = &p->candidates[by];
    unsigned bits = SLOT_BITS - p->run;
    *held = (struct held){score_of(p, c, slot), by, (uint16_t)first_bits(c, slot >> p->run, bits)};
}

/* How far from even the loads would be with it: mostly of the worst, hence the fourth power. The bounds are left out: within them nothing
 * moves besides. */
static uint64_t unevenness(const struct placing *p, const struct held *held, const struct candidate *joiner, unsigned *count) {
    uint64_t total = joiner->weight, sum = 0;
    unsigned own = 0;
    for (unsigned i = 0; i < p->n; i++) {
        count[i] = p->count[i];
        total += p->candidates[i].weight;
    }
    for (unsigned slot = 0; slot < RING_SLOTS; slot++) {
        if (takes(p, joiner, &held[slot], slot)) {
            count[held[slot].by]--;
            own++;
        }
    }
    for (unsigned i = 0; i <= p->n; i++) {
        uint64_t weight = i < p->n ? p->candidates[i].weight : joiner->weight, share = (uint64_t)RING_SLOTS * 16 * weight / total;
        uint64_t has = (uint64_t)(i < p->n ? count[i] : own) * 16, off = has > share ? has - share : share - has;
        uint64_t part = off * PART / (share + 1);
        part = part < MOST_PARTS ? part : MOST_PARTS;
        sum += part * part * part * part * (i == p->n ? OWN_FACTOR : has > share ? OVER_FACTOR : 1);
    }
    return sum;
}

static uint16_t least_uneven(const struct placing *p, const struct held *held, const struct ring_node *node, uint16_t weight) {
    unsigned *count = mem_alloc(p->n * sizeof(*count));
    uint64_t least = UINT64_MAX;
    uint16_t best = 0;
    for (unsigned lot = 0; lot < RING_LOTS; lot++) {
        struct candidate joiner;
        candidate_init(&joiner, node, lot, weight, RING_NONE);
        uint64_t u = unevenness(p, held, &joiner, count);
        if (u < least) {
            least = u;
            best = (uint16_t)lot;
        }
    }
    mem_free(count);
    return best;
}

static void hold_all(struct placing *p, struct held *held) {
    for (unsigned slot = 0; slot < RING_SLOTS && p->n > 0; slot++) {
        unsigned by = best_behind(p, slot, NULL, 0);
        hold(p, &held[slot], by, slot);
        p->count[by]++;
    }
}

/* A node has taken a lot: it is one of those who are there. */
static void add_taker(struct placing *p, struct held *held, const struct ring_node *node, unsigned lot, uint16_t weight) {
    unsigned by = p->n++;
    candidate_init(&p->candidates[by], node, lot, weight, RING_NONE);
    for (unsigned slot = 0; slot < RING_SLOTS; slot++) {
        if (by == 0 || takes(p, &p->candidates[by], &held[slot], slot)) {
            p->count[held[slot].by] -= by > 0;
            hold(p, &held[slot], by, slot);
            p->count[by]++;
        }
    }
}

uint16_t ring_place_lot(const struct ring_node *nodes, const uint16_t *weights, const uint16_t *takers, unsigned n, unsigned run,
                        const unsigned *order, unsigned count) {
    struct placing p = {.run = run, .candidates = mem_alloc(n * sizeof(*p.candidates)), .even = true};
    struct held *held = mem_zalloc(RING_SLOTS * sizeof(*held));
    uint16_t lot, weight = takers[order[count - 1]];
    p.count = mem_zalloc((n + 1) * sizeof(*p.count));
    for (unsigned i = 0; i < n; i++) {
        p.even &= (weights[i] == 0 || weights[i] == weight) && (takers[i] == 0 || takers[i] == weight);
        if (weights[i] > 0) {
            candidate_init(&p.candidates[p.n++], &nodes[i], nodes[i].lot, weights[i], i);
        }
    }
    hold_all(&p, held);
    unsigned most = p.even ? TAKERS_MOST : TAKERS_MOST_UNEVEN;
    for (unsigned k = 0, found = 0; k + 1 < count; k++) {
        const struct ring_node *node = &nodes[order[k]];
        bool taken = node->state != NODE_JOINING || node->lot != 0 || p.n == 0 || found == most;
        found += !taken;
        add_taker(&p, held, node, taken ? node->lot : least_uneven(&p, held, node, takers[order[k]]), takers[order[k]]);
    }
    lot = p.n > 0 ? least_uneven(&p, held, &nodes[order[count - 1]], weight) : 0;
    mem_free(p.count);
    mem_free(held);
    mem_free(p.candidates);
    return lot;
}

unsigned ring_place_successor(const struct ring_node *nodes, const uint16_t *weights, unsigned n, unsigned run, unsigned slot,
                              unsigned owner, unsigned k) {
    struct placing p;
    placing_init(&p, nodes, weights, n, run);
    unsigned found = RING_NONE, at = RING_NONE;
    struct score bar;
    for (unsigned left = k; left > 0;) {
        at = best_behind(&p, slot, at == RING_NONE ? NULL : &bar, at);
        if (at == RING_NONE) {
            break;
        }
        bar = score_of(&p, &p.candidates[at], slot);
        left -= p.candidates[at].index != owner;
        found = left == 0 ? p.candidates[at].index : RING_NONE;
    }
    mem_free(p.candidates);
    return found;
}

void ring_place_serving(const struct ring_node *nodes, const uint16_t *weights, unsigned n, unsigned run, const bool *answers,
                        const uint16_t *owner, unsigned none, uint16_t *serving) {
    struct placing p;
    placing_init(&p, nodes, weights, n, run);
    unsigned kept = 0;
    for (unsigned i = 0; i < p.n; i++) {
        if (answers[p.candidates[i].index]) {
            p.candidates[kept++] = p.candidates[i];
        }
    }
    p.n = kept;
    for (unsigned slot = 0; slot < RING_SLOTS; slot++) {
        serving[slot] = owner[slot];
        if (!answers[owner[slot]]) {
            unsigned best = best_behind(&p, slot, NULL, 0);
            serving[slot] = (uint16_t)(best != RING_NONE ? p.candidates[best].index : none != RING_NONE ? none : owner[slot]);
        }
    }
    mem_free(p.candidates);
}
