/* SPDX-License-Identifier: BSD-3-Clause */
/* gather: splitting calls, and joining replies. */
#include "src/server/gather.h"

#include <stdlib.h>

#include "src/base/arena.h"
#include "src/base/mem.h"
#include "src/base/num.h"
#include "src/base/rng.h"
#include "src/cmd/call.h"
#include "src/resp/parse.h"
#include "src/server/due.h"
#include "src/server/far.h"
#include "src/server/forward.h"
#include "src/server/missed.h"
#include "src/server/near.h"
#include "src/server/peers.h"
#include "src/server/session.h"
#include "src/server/worker.h"

struct gather;

struct part {
    struct forward f; /* first */
    struct gather *gather;
    struct gather *again; /* it was split once more */
    struct buf flat;  /* the reply */
    size_t at;        /* so much of it is used */
    bool gone;        /* its node is: the others' replies are the reply */
};

struct gather {
    struct due due;
    struct session *session;
    const struct cmd *cmd;
    struct far_call far; /* of the client's */
    struct part *parent; /* whose reply this is a part of; NULL: the client's */
    int missing, nparts, nkeys;
    struct part **parts;
    int *part_of; /* of each key, in the order of the arguments; NULL: every node was asked */
    uint16_t *wrote; /* slots of the keys when they are written, nkeys of them */
    int *node_of; /* of each part, when every node was asked: its place in the ring */
};

/* ---- joining ---- */

static char kind_of(const struct part *p) {
    return p->flat.n > 0 ? p->flat.p[0] : '-';
}

/* The number in the line at `at`; the offset behind the line. */
static size_t line(const struct buf *b, size_t at, int64_t *n) {
    const char *end = at < b->n ? memchr(b->p + at, '\r', b->n - at) : NULL;
    *n = 0;
    if (end == NULL) {
        return b->n;
    }
    if (!num_parse_i64(slice_make(b->p + at + 1, (size_t)(end - (b->p + at)) - 1), n)) {
        *n = 0;
    }
    return (size_t)(end - b->p) + 2;
}

/* The offset behind the element at `at`, a string or something of one line. */
static size_t behind(const struct buf *b, size_t at) {
    int64_t n;
    size_t next = line(b, at, &n);
    if (at < b->n && b->p[at] == '$' && n >= 0) {
        next += (size_t)n + 2;
    }
    return next < b->n ? next : b->n;
}

static const struct part *first_error(const struct gather *g) {
    for (int i = 0; i < g->nparts; i++) {
        if (kind_of(g->parts[i]) == '-' && !g->parts[i]->gone) {
            return g->parts[i];
        }
    }
    return NULL;
}

static void join_sums(const struct gather *g, struct out *out) {
    int64_t sum = 0, n;
    for (int i = 0; i < g->nparts; i++) {
        line(&g->parts[i]->flat, 0, &n);
        sum += n;
    }
    reply_int(out, sum);
}

static void join_first(const struct gather *g, struct out *out) {
    int i = 0;
    while (i + 1 < g->nparts && g->parts[i]->gone) {
        i++;
    }
    buf_put_slice(&out->buf, buf_slice(&g->parts[i]->flat));
}

/* Arrays behind one another; or, for keys, element by element in the order of the keys. */
static void join_arrays(const struct gather *g, struct out *out) {
    int64_t sum = 0, n;
    for (int i = 0; i < g->nparts; i++) {
        g->parts[i]->at = line(&g->parts[i]->flat, 0, &n);
        sum += n;
    }
    reply_array(out, sum);
    for (int i = 0; g->part_of == NULL && i < g->nparts; i++) {
        const struct part *p = g->parts[i];
        buf_put(&out->buf, p->flat.p + p->at, p->flat.n - p->at);
    }
    for (int i = 0; g->part_of != NULL && i < g->nkeys; i++) {
        struct part *p = g->parts[g->part_of[i]];
        size_t end = behind(&p->flat, p->at);
        buf_put(&out->buf, p->flat.p + p->at, end - p->at);
        p->at = end;
    }
}

/* One of the answers that is a key. */
static void join_any(const struct gather *g, struct out *out) {
    int start = (int)rng_below((uint64_t)g->nparts);
    for (int i = 0; i < g->nparts; i++) {
        const struct part *p = g->parts[(start + i) % g->nparts];
        if (kind_of(p) == '$' && p->flat.p[1] != '-') {
            buf_put_slice(&out->buf, buf_slice(&p->flat));
            return;
        }
    }
    reply_null(out);
}

static void join(const struct gather *g, struct out *out) {
    static void (*const how[])(const struct gather *g, struct out *out) = {
        [SPREAD_SUM] = join_sums, [SPREAD_FIRST] = join_first, [SPREAD_JOIN] = join_arrays, [SPREAD_ANY] = join_any};
    const struct part *error = first_error(g);
    if (error != NULL) {
        buf_put_slice(&out->buf, buf_slice(&error->flat));
    } else {
        how[g->cmd->row->spread](g, out);
    }
}

/* ---- a gather's life ---- */

static void gather_free(struct gather *g) {
    for (int i = 0; i < g->nparts; i++) {
        struct part *p = g->parts[i];
        if (p->again != NULL) {
            gather_free(p->again);
        }
        forward_fini(&p->f);
        buf_free(&p->flat);
        mem_free(p);
    }
    out_free(&g->due.before);
    out_free(&g->due.reply);
    mem_free(g->parts);
    mem_free(g->part_of);
    mem_free(g->wrote);
    mem_free(g);
}

static void release(struct due *d) {
    gather_free((struct gather *)d);
}

static void part_done(struct forward *f);

/* Copies of what was written end before the client hears of it; and what a stand-in wrote is noted. */
static void end_copies(const struct gather *g) {
    struct peers *p = g->session->worker->peers;
    for (int i = 0; g->wrote != NULL && i < g->nkeys; i++) {
        near_wrote_slot(p->copies, g->wrote[i]);
        if (g->parts[g->part_of[i]]->f.gutter) {
            missed_note(p->missed, p->ring.ring, g->wrote[i]);
        }
    }
}

/* When every node was asked, it was asked the same. */
static const struct buf *commands_of(const void *ctx, unsigned i) {
    const struct gather *g = ctx;
    return i < (g->part_of != NULL ? (unsigned)g->nparts : 1) ? &g->parts[i]->f.commands : NULL;
}

static void finish(struct gather *g) {
    end_copies(g);
    if (g->parent == NULL) {
        join(g, &g->due.reply);
        far_end(&g->far, g->session, buf_slice(&g->due.reply.buf), commands_of, g);
        due_done(g->session, &g->due);
    } else {
        struct part *p = g->parent;
        join(g, &p->f.reply);
        part_done(&p->f);
    }
}

/* Bytes, with those that were held by reference in their places. */
static void flatten(struct out *o, struct buf *flat) {
    size_t at = 0;
    for (uint32_t i = 0; i < o->ref_count; i++) {
        buf_put(flat, o->buf.p + at, o->refs[i].at - at);
        buf_put_slice(flat, o->refs[i].bytes);
        at = o->refs[i].at;
    }
    buf_put(flat, o->buf.p + at, o->buf.n - at);
    out_truncate(o, 0, 0);
}

/* A change that is for every node did not reach one. That one drops all it has before it serves again; when it is known to be gone until then,
 * that is as good as if it had taken part. */
static void make_up_for(struct part *part) {
    struct forward *f = &part->f;
    struct peers *p = part->gather->session->worker->peers;
    const struct ring *ring = p->ring.ring;
    unsigned i = ring_find(ring, f->to);
    if (i != RING_NONE) {
        missed_note_all(p->missed, ring, i);
    }
    part->gone = peers_is_gone(p, f->to);
    if (!part->gone) {
        out_truncate(&f->reply, 0, 0);
        reply_errorf(&f->reply, "CLUSTERDOWN Node %.8s at %s:%u does not answer. The others have done it; that one drops all its keys when it can be "
                     "reached, but until then may serve them: repeat the call in a moment, or CLUSTER FORGET it", f->to, ring->nodes[i].host, ring->nodes[i].port);
    }
}

static void part_done(struct forward *f) {
    struct part *p = (struct part *)f;
    if (f->failed && f->wrote == WROTE_ALL) {
        make_up_for(p);
    }
    flatten(&f->reply, &p->flat);
    if (--p->gather->missing == 0) {
        finish(p->gather);
    }
}

static struct gather *gather_make(struct session *s, const struct cmd *cmd, int most_parts) {
    struct gather *g = mem_zalloc(sizeof(*g));
    g->session = s;
    g->cmd = cmd;
    g->due.release = g->due.orphan = release;
    g->due.reply.proto = s->out.proto;
    g->parts = mem_alloc((size_t)most_parts * sizeof(*g->parts));
    return g;
}

static struct part *add_part(struct gather *g, unsigned slot) {
    struct part *p = mem_zalloc(sizeof(*p));
    p->gather = g;
    forward_init(&p->f, g->session, slot, part_done);
    g->parts[g->nparts++] = p;
    g->missing++;
    return p;
}

/* ---- by key ---- */

/* Where the arguments of a split call are. */
struct layout {
    const struct slice *argv;
    int argc, first, step, nkeys;
    struct peer **peers; /* of each key; NULL: this node */
    bool *gutter;        /* likewise: in its owner's place */
    uint16_t *slots;
    bool away;           /* some are not here, or here in their owner's place */
};

static struct layout lay_out(struct session *s, const struct cmd *cmd, const struct slice *argv, int argc, struct arena *arena) {
    struct layout l = {.argv = argv, .argc = argc, .first = cmd->specs[0].first, .step = cmd->specs[0].step};
    l.nkeys = (argc - l.first) / l.step;
    l.peers = arena_alloc(arena, (size_t)l.nkeys * sizeof(*l.peers));
    l.slots = arena_alloc(arena, (size_t)l.nkeys * sizeof(*l.slots));
    l.gutter = arena_alloc(arena, (size_t)l.nkeys * sizeof(*l.gutter));
    for (int i = 0; i < l.nkeys; i++) {
        l.slots[i] = hash_slot(argv[l.first + i * l.step]);
        l.peers[i] = peers_for_slot(s->worker->peers, l.slots[i], &l.gutter[i]);
        l.away |= l.peers[i] != NULL || l.gutter[i];
    }
    return l;
}

static bool is_together(const struct layout *l, int a, int b) {
    return l->peers[a] == l->peers[b] && l->gutter[a] == l->gutter[b]; /* what is kept in another's place is kept for gutter-ttl only */
}

/* The command with the keys that the peer of key `from` serves. Notes which part they are of. */
static void add_command(struct part *p, const struct layout *l, int from, struct arena *arena) {
    struct slice *argv = arena_alloc(arena, (size_t)l->argc * sizeof(*argv));
    int n = 0;
    argv[n++] = l->argv[0];
    for (int i = from; i < l->nkeys; i++) {
        if (is_together(l, i, from)) {
            p->gather->part_of[i] = p->gather->nparts - 1;
            for (int k = 0; k < l->step; k++) {
                argv[n++] = l->argv[l->first + i * l->step + k];
            }
        }
    }
    forward_add(&p->f, argv, n);
}

static void split_again(struct forward *f);

static void add_parts(struct gather *g, const struct layout *l, struct arena *arena) {
    g->nkeys = l->nkeys;
    g->part_of = mem_alloc((size_t)l->nkeys * sizeof(int));
    if (!(g->cmd->flags & CMD_READONLY)) {
        g->wrote = mem_alloc((size_t)l->nkeys * sizeof(*g->wrote));
        memcpy(g->wrote, l->slots, (size_t)l->nkeys * sizeof(*g->wrote));
    }
    for (int i = 0; i < l->nkeys; i++) {
        g->part_of[i] = -1;
    }
    for (int i = 0; i < l->nkeys; i++) {
        if (g->part_of[i] < 0) {
            struct part *p = add_part(g, l->slots[i]);
            p->f.may_repeat = true; /* what can be split can be run twice, too */
            p->f.split = split_again;
            add_command(p, l, i, arena);
        }
    }
}

/* A part may be done before the next one is sent, but not the whole. */
static void send_parts(struct gather *g) {
    g->missing++;
    for (int i = 0; i < g->nparts; i++) {
        forward_send(&g->parts[i]->f);
    }
    if (--g->missing == 0) {
        finish(g);
    }
}

enum err gather_split(struct session *s, struct call *c) {
    if ((c->argc - c->cmd->specs[0].first) % c->cmd->specs[0].step != 0) {
        return OK; /* refused by its handler */
    }
    struct layout l = lay_out(s, c->cmd, c->argv, c->argc, c->arena);
    if (!l.away) {
        return OK;
    }
    struct gather *g = gather_make(s, c->cmd, l.nkeys);
    far_begin(&g->far, c, s->worker);
    g->due.silent = client_is(&s->client, CLIENT_REPLY_OFF | CLIENT_REPLY_SKIP);
    add_parts(g, &l, c->arena);
    due_begin(s, &g->due);
    send_parts(g);
    forward_brake(s, false);
    return ERR_PARKED;
}

/* The nodes have changed: the keys of the part may be at several now. */
static void split_again(struct forward *f) {
    struct part *p = (struct part *)f;
    struct session *s = f->session;
    struct parse_limits limits = {INT64_MAX, INT32_MAX, INT64_MAX, 0};
    struct parse_resume resume = {0};
    struct request r;
    struct arena arena = {0};
    bool one = true;
    if (parse_request(slice_make(f->commands.p + 4, f->commands.n - 4), &limits, &resume, &arena, &r) == PARSE_OK) {
        struct layout l = lay_out(s, p->gather->cmd, r.argv, r.argc, &arena);
        for (int i = 1; i < l.nkeys; i++) {
            one &= is_together(&l, i, 0);
        }
        if (!one && p->again == NULL) {
            p->again = gather_make(s, p->gather->cmd, l.nkeys);
            p->again->parent = p;
            add_parts(p->again, &l, &arena);
            send_parts(p->again);
        }
    }
    arena_free(&arena);
    if (one || p->again == NULL) {
        forward_send(f);
    }
}

/* ---- every node ---- */

static bool is_silent(const struct ring_node *node) {
    return node->state == NODE_SUSPECT || node->state == NODE_DEAD;
}

enum err gather_everywhere(struct session *s, struct call *c) {
    const struct ring *ring = s->worker->peers->ring.ring;
    struct gather *g = gather_make(s, c->cmd, (int)ring->n);
    bool writes = c->cmd->flags & CMD_WRITE;
    far_begin(&g->far, c, s->worker);
    g->due.silent = client_is(&s->client, CLIENT_REPLY_OFF | CLIENT_REPLY_SKIP);
    due_begin(s, &g->due);
    g->missing++;
    for (unsigned i = 0; i < ring->n; i++) {
        if (writes || !is_silent(&ring->nodes[i])) { /* who is silent is not counted; but a change must reach all */
            struct part *p = add_part(g, FORWARD_ANY_SLOT);
            p->f.may_repeat = forward_may_repeat(c);
            p->f.wrote = writes ? WROTE_ALL : WROTE_NOTHING;
            forward_add(&p->f, c->argv, c->argc);
            forward_send_to(&p->f, ring->nodes[i].id);
        }
    }
    if (--g->missing == 0) {
        finish(g);
    }
    forward_brake(s, false);
    return ERR_PARKED;
}
