/* SPDX-License-Identifier: BSD-3-Clause */
/* members: the table of nodes: merging, verdicts, and the ring made from it. */
#include "cluster/members.h"

#include <stdio.h>
#include <string.h>

#include "cluster/members_int.h"
#include "src/base/check.h"
#include "src/base/mem.h"

enum { CONTRADICTIONS = 16 /* how far a process may go within a round or two */ };

static const char *const verdict_names[VERDICT_COUNT] = {"alive", "suspect", "dead", "removed", "forgotten"};
static const char *const intent_names[INTENT_COUNT] = {"joining", "member", "leaving", "left"};

/* ---- small things ---- */

/* splitmix64 (Steele et al. 2014): the order of probes, the same in every run with the same seed. */
uint64_t members_random(struct members *m) {
    uint64_t v = m->random += 0x9e3779b97f4a7c15ULL;
    v = (v ^ v >> 30) * 0xbf58476d1ce4e5b9ULL;
    v = (v ^ v >> 27) * 0x94d049bb133111ebULL;
    return v ^ v >> 31;
}

void members_tell(struct members *m, enum members_event event, const char *id, const char *text) {
    m->hooks.event(m->hooks.ctx, event, id, text);
}

int64_t members_interval_ms(const struct members *m) {
    int64_t ms = m->o.timeout_ms / MEMBERS_ROUNDS;
    return ms < 25 ? 25 : ms;
}

int64_t members_tick_ms(const struct members *m) {
    int64_t ms = members_interval_ms(m) / 4;
    return ms < 10 ? 10 : ms > 100 ? 100 : ms;
}

static bool is_gone(const struct member_record *r) {
    return r->intent == INTENT_LEFT || r->verdict >= VERDICT_REMOVED;
}

bool member_is_gone(const struct member *e) {
    return is_gone(&e->r);
}

/* Index of the id, or where it would be. */
static unsigned place_of(const struct members *m, const char *id) {
    unsigned low = 0, high = m->n;
    while (low < high) {
        unsigned mid = (low + high) / 2;
        int order = strcmp(m->list[mid]->r.id, id);
        if (order == 0) {
            return mid;
        }
        low = order < 0 ? mid + 1 : low;
        high = order < 0 ? high : mid;
    }
    return low;
}

struct member *members_find(const struct members *m, const char *id) {
    unsigned i = place_of(m, id);
    return i < m->n && strcmp(m->list[i]->r.id, id) == 0 ? m->list[i] : NULL;
}

struct member *members_at(const struct members *m, const struct node_addr *addr) {
    for (unsigned i = 0; i < m->n; i++) {
        if (!member_is_gone(m->list[i]) && node_addr_equal(&m->list[i]->r.addr, addr)) {
            return m->list[i];
        }
    }
    return NULL;
}

static unsigned count_present(const struct members *m) {
    unsigned n = 0;
    for (unsigned i = 0; i < m->n; i++) {
        n += !member_is_gone(m->list[i]);
    }
    return n;
}

static struct member *add(struct members *m, const struct member_record *r, int64_t now_ms) {
    if (m->n == m->cap) {
        m->cap = m->cap * 2 + 16;
        m->list = mem_realloc(m->list, m->cap * sizeof(struct member *));
    }
    unsigned at = place_of(m, r->id);
    memmove(m->list + at + 1, m->list + at, (m->n - at) * sizeof(struct member *));
    m->n++;
    struct member *e = m->list[at] = mem_zalloc(sizeof(*e));
    e->r = *r;
    e->since_ms = now_ms;
    e->acked_ms = e->probed_ms = e->synced_ms = -1;
    return e;
}

void members_drop(struct members *m, struct member *e) {
    unsigned at = place_of(m, e->r.id);
    memmove(m->list + at, m->list + at + 1, (m->n - at - 1) * sizeof(struct member *));
    m->n--;
    mem_free(e);
}

/* As often as it takes for all to have heard of it, with high probability. */
void members_spread(struct members *m, struct member *e) {
    unsigned bits = 0;
    for (unsigned n = m->n; n > 0; n >>= 1) {
        bits++;
    }
    e->news = 3 * bits;
    m->hurry = true;
}

/* ---- hashes and the version ---- */

static uint64_t hash_record(const struct member_record *r) {
    struct buf b = {0};
    uint64_t h = 0xcbf29ce484222325ULL; /* FNV-1a; the same on every machine */
    members_put_record(&b, r);
    for (size_t i = 0; i < b.n; i++) {
        h = (h ^ (unsigned char)b.p[i]) * 0x100000001b3ULL;
    }
    buf_free(&b);
    return h ^ h >> 32;
}

/* The set that makes the ring: incarnations and verdicts do not. */
static uint32_t digest_of(const struct members *m) {
    uint64_t h = 0;
    for (unsigned i = 0; i < m->n; i++) {
        if (!member_is_gone(m->list[i])) {
            struct member_record r = m->list[i]->r;
            r.incarnation = 0;
            r.verdict = VERDICT_ALIVE;
            h = (h ^ hash_record(&r)) * 0x9e3779b97f4a7c15ULL;
        }
    }
    return (uint32_t)(h >> 32);
}

/* Of what all should agree on. Records of nodes that are gone are dropped sooner here, later there, and do not count. */
static uint64_t table_of(const struct members *m) {
    uint64_t h = 0;
    for (unsigned i = 0; i < m->n; i++) {
        h ^= member_is_gone(m->list[i]) || m->list[i]->remembered ? 0 : hash_record(&m->list[i]->r);
    }
    return h;
}

uint64_t members_version(const struct members *m) {
    return m->epoch << 32 | m->digest;
}

/* A set that is neither ours nor the sender's is newer than both; the same set has the greater epoch of the two. */
void members_settle(struct members *m, uint64_t theirs) {
    uint32_t digest = digest_of(m);
    uint64_t epoch = theirs >> 32 > m->epoch ? theirs >> 32 : m->epoch;
    m->table = table_of(m);
    if (digest != m->digest) {
        m->epoch = epoch + (theirs == 0 || digest != (uint32_t)theirs);
        m->digest = digest;
        m->set_dirty = true;
    } else if (digest == (uint32_t)theirs) {
        m->epoch = epoch;
    }
}

/* ---- this node ---- */

void members_self_changed(struct members *m) {
    m->self->r.incarnation++;
    members_spread(m, m->self);
    members_settle(m, 0);
}

void members_learn_self(struct members *m, const struct node_addr *at) {
    struct member *self = m->self;
    if (self->r.addr.host[0] == '\0' && at->host[0] != '\0' && at->bus_port == m->o.addr.bus_port) {
        memcpy(self->r.addr.host, at->host, sizeof(at->host));
        members_self_changed(m);
    }
}

static void fill_node(const struct members *m, const struct member *e, int64_t now_ms, struct ring_node *out);

/* The one that fits best between those who are there, and those who begin at the same time (ring_choose_lot). Once in a
 * node's life: one that left, or was removed, has the slots that it had when it is back, so that what its restart moves is moved back, and nothing else. */
static void take_lot(struct members *m) {
    struct ring_node *nodes = mem_alloc(m->n * sizeof(*nodes));
    unsigned n = 0, self = 0;
    for (unsigned i = 0; i < m->n; i++) {
        const struct member *e = m->list[i];
        if (e == m->self || !member_is_gone(e)) {
            self = e == m->self ? n : self;
            fill_node(m, e, m->tick_ms, &nodes[n]);
            nodes[n++].beginner = e->began_beside;
        }
    }
    m->self->r.lot = m->hooks.choose_lot != NULL ? m->hooks.choose_lot(m->hooks.ctx, nodes, n, m->o.slot_run, self)
                                                 : ring_choose_lot(nodes, n, m->o.slot_run, self);
    m->has_lot = true;
    mem_free(nodes);
    members_tell(m, MEMBERS_LOT, m->self->r.id, "has taken a lot");
}

/* ---- what is remembered ---- */

static void remember(struct members *m, int64_t now_ms) {
    for (unsigned i = 0; i < m->o.remembered_count && m->n < RING_MAX_NODES; i++) {
        struct member_record r = m->o.remembered[i];
        r.intent = INTENT_MEMBER;
        r.verdict = VERDICT_ALIVE;
        if (members_find(m, r.id) == NULL) {
            add(m, &r, now_ms)->remembered = true;
        }
    }
    m->o.remembered = NULL;
}

bool members_remembers(const struct members *m) {
    bool some = false;
    for (unsigned i = 0; i < m->n; i++) {
        some |= m->list[i]->remembered;
    }
    return some;
}

/* Somebody who is no beginner is there. */
static bool found_cluster(const struct members *m) {
    bool found = false;
    for (unsigned i = 0; i < m->n; i++) {
        const struct member *e = m->list[i];
        found |= e != m->self && !e->remembered && !member_is_gone(e) && e->r.intent == INTENT_MEMBER;
    }
    return found;
}

/* Once this node joins: a cluster has said who is in it; without one, those of before are. */
static void end_remembering(struct members *m) {
    bool drops = found_cluster(m);
    for (unsigned i = m->n; i-- > 0;) {
        struct member *e = m->list[i];
        if (e->remembered && drops) {
            members_drop(m, e);
        } else if (e->remembered) {
            e->remembered = false;
            members_spread(m, e);
        }
    }
}

/* Others begin, too, and more may: lots that fit together are taken by those who know each other. */
static bool waits_for_others(const struct members *m) {
    bool others = false;
    for (unsigned i = 0; i < m->n; i++) {
        others |= m->list[i]->began_beside && !member_is_gone(m->list[i]);
    }
    return others && !m->has_lot && m->tick_ms < m->join_by_ms && m->tick_ms - m->grew_ms < members_interval_ms(m);
}

void members_become_member(struct members *m) {
    m->may_join = true;
    if (m->self->r.intent == INTENT_JOINING && !waits_for_others(m)) {
        end_remembering(m);
        if (!m->has_lot) {
            take_lot(m);
        }
        m->self->r.intent = INTENT_MEMBER;
        members_self_changed(m);
        members_tell(m, MEMBERS_JOINED, m->self->r.id, "joined");
    }
}

static void be_alone(struct members *m) {
    m->alone = true;
    for (unsigned i = m->n; i-- > 0;) {
        if (m->list[i] != m->self) {
            members_drop(m, m->list[i]);
        }
    }
    for (unsigned i = m->seed_count; i-- > 0;) { /* what MEET named */
        if (m->seeds[i].until_ms >= 0) {
            m->seeds[i] = m->seeds[--m->seed_count];
        }
    }
    m->self->r.intent = INTENT_MEMBER;
    members_self_changed(m);
    members_tell(m, MEMBERS_FORGOTTEN, m->self->r.id, "the others were told to forget this node");
}

static bool same_facts(const struct member_record *a, const struct member_record *b) {
    return a->intent == b->intent && a->weight == b->weight && a->lot == b->lot && node_addr_equal(&a->addr, &b->addr);
}

/* Not running, or not with most of the ring, not long ago: it may well be that most have given this node up. */
static bool was_apart(const struct members *m) {
    return m->tick_ms - m->apart_ms < 2 * m->o.timeout_ms;
}

/* Others had the slots of a node of which they say that. */
static bool was_given_up(const struct member_record *r) {
    return r->verdict != VERDICT_ALIVE || r->intent == INTENT_LEFT;
}

/* A node that is new in this process hears once that its former life was given up, also when it has changed since that was said. */
static bool hears_of_former_life(struct members *m, const struct member_record *r) {
    bool about_this = m->self->r.intent == INTENT_JOINING && was_given_up(r) && r->incarnation >= m->o.incarnation;
    if (about_this && !m->doubted) {
        m->doubted = true;
        members_tell(m, MEMBERS_DOUBTED, m->self->r.id, verdict_names[r->verdict]);
    }
    return about_this;
}

static void tell_doubt(struct members *m, const struct member_record *r) {
    if (was_given_up(r) && !hears_of_former_life(m, r)) {
        bool lost = was_apart(m) || is_gone(r);
        members_tell(m, lost ? MEMBERS_DOUBTED : MEMBERS_BLAMED, m->self->r.id, verdict_names[r->verdict]);
    }
}

/* What others say about this node: it outbids what is not so. */
static bool merge_self(struct members *m, const struct member_record *r) {
    struct member_record *mine = &m->self->r;
    if (r->incarnation < mine->incarnation ||
        (r->incarnation == mine->incarnation && r->verdict == VERDICT_ALIVE && same_facts(r, mine))) {
        hears_of_former_life(m, r);
        return false;
    }
    if (r->verdict == VERDICT_FORGOTTEN) {
        mine->incarnation = r->incarnation;
        be_alone(m);
        return true;
    }
    if (mine->addr.host[0] == '\0') {
        memcpy(mine->addr.host, r->addr.host, sizeof(r->addr.host));
    } else if (r->incarnation > mine->incarnation && !node_addr_equal(&r->addr, &mine->addr) && ++m->clashes % 3 == 0) {
        members_tell(m, MEMBERS_CLASH, mine->id, "another process has the same id"); /* again and again: not just a memory of a former life */
    }
    mine->incarnation = r->incarnation;
    members_self_changed(m);
    tell_doubt(m, r);
    return true;
}

/* ---- merging ---- */

static void tell_change(struct members *m, const struct member *e) {
    char text[NODE_HOST_BYTES + 64];
    snprintf(text, sizeof(text), "%s:%u is %s", e->r.addr.host, e->r.addr.port,
             e->r.verdict == VERDICT_ALIVE ? intent_names[e->r.intent] : verdict_names[e->r.verdict]);
    members_tell(m, MEMBERS_CHANGED, e->r.id, text);
}

static void note_beginner(struct members *m, struct member *e) {
    e->began_beside |= m->self->r.intent == INTENT_JOINING && !m->has_lot && e->r.intent == INTENT_JOINING && e->r.lot == 0;
}

/* A record of a node that was not known. One without an address could be called by nobody, nor told to others. */
static bool merge_new(struct members *m, const struct member_record *r, int64_t now_ms) {
    if (r->intent == INTENT_LEFT || r->verdict >= VERDICT_REMOVED || r->addr.host[0] == '\0') {
        return false;
    }
    if (count_present(m) >= RING_MAX_NODES || m->n >= MEMBERS_MAX_RECORDS) {
        m->stats.overflow++;
        return false;
    }
    struct member *e = add(m, r, now_ms);
    m->grew_ms = now_ms;
    note_beginner(m, e);
    members_spread(m, e);
    tell_change(m, e);
    return true;
}

static void take_new_life(struct member *e, const struct member_record *r) {
    struct member_record was = e->r;
    e->r = *r;
    if (r->addr.host[0] == '\0') {
        memcpy(e->r.addr.host, was.addr.host, sizeof(was.addr.host));
    }
    if (!node_addr_equal(&was.addr, &e->r.addr)) {
        e->unreachable = false;
        e->failures = e->answers = 0;
        e->number = 0;
        e->acked_ms = -1;
    }
}

/* A node that contradicts goes one further than what it heard; another process begins with its time. That one may have joined, too, before it met anybody. */
static bool is_next_life(const struct member_record *was, const struct member_record *now) {
    return now->intent == INTENT_JOINING || (now->intent == INTENT_MEMBER && now->incarnation > was->incarnation + CONTRADICTIONS);
}

bool members_merge(struct members *m, const struct member_record *r, int64_t now_ms) {
    struct member *e = members_find(m, r->id);
    if (e == NULL) {
        return merge_new(m, r, now_ms);
    }
    if (e == m->self) {
        return merge_self(m, r);
    }
    struct member_record was = e->r;
    bool confirmed = e->remembered;
    e->remembered = false;
    if (r->incarnation < was.incarnation || (r->incarnation == was.incarnation && r->verdict <= was.verdict)) {
        if (member_is_gone(e)) {
            members_spread(m, e); /* somebody has not heard */
        }
        return confirmed;
    }
    if (member_is_gone(e) && r->incarnation > was.incarnation && r->verdict < VERDICT_REMOVED && r->intent != INTENT_LEFT &&
        count_present(m) >= RING_MAX_NODES) {
        m->stats.overflow++;
        return false;
    }
    if (r->incarnation > was.incarnation) {
        bool gone = member_is_gone(e) || was.intent == INTENT_LEAVING; /* its last words may have been lost */
        take_new_life(e, r);
        note_beginner(m, e);
        if (gone && r->verdict == VERDICT_ALIVE && is_next_life(&was, r)) {
            e->r.verdict = VERDICT_SUSPECT; /* another process with what the node had: it is to hear that others have had its share */
        }
    } else {
        e->r.verdict = r->verdict;
    }
    if (e->r.verdict != was.verdict || e->r.intent != was.intent) {
        e->since_ms = now_ms;
        tell_change(m, e);
    }
    members_spread(m, e);
    return true;
}

void members_give_verdict(struct members *m, struct member *e, enum member_verdict verdict, int64_t now_ms) {
    e->r.verdict = (uint8_t)verdict;
    e->since_ms = now_ms;
    m->stats.suspected += verdict == VERDICT_SUSPECT;
    m->stats.died += verdict == VERDICT_DEAD;
    m->stats.removed += verdict == VERDICT_REMOVED;
    members_spread(m, e);
    members_settle(m, 0);
    tell_change(m, e);
}

/* ---- the ring ---- */

bool members_up(const struct members *m, const struct member *e) {
    return e != m->self && !member_is_gone(e) && e->r.verdict < VERDICT_DEAD && !e->unreachable;
}

enum node_state members_state(const struct members *m, const struct member *e, int64_t now_ms) {
    if (e->r.intent != INTENT_MEMBER) {
        return e->r.intent == INTENT_JOINING ? NODE_JOINING : NODE_LEAVING; /* one that has left is in no ring but its own last one */
    }
    bool fresh = e->acked_ms >= 0 && now_ms - e->acked_ms <= 2 * members_interval_ms(m);
    if (e == m->self || (fresh && !e->unreachable)) {
        return NODE_ALIVE; /* whatever others think: it answers here */
    }
    if (e->r.verdict >= VERDICT_DEAD) {
        return NODE_DEAD;
    }
    return e->unreachable || e->r.verdict == VERDICT_SUSPECT ? NODE_SUSPECT : NODE_ALIVE;
}

static void fill_node(const struct members *m, const struct member *e, int64_t now_ms, struct ring_node *out) {
    memset(out, 0, sizeof(*out));
    memcpy(out->id, e->r.id, sizeof(out->id));
    memcpy(out->host, e->r.addr.host, sizeof(out->host));
    out->port = e->r.addr.port;
    out->bus_port = e->r.addr.bus_port;
    out->weight = e->r.weight;
    out->lot = e->r.lot;
    out->state = (uint8_t)members_state(m, e, now_ms);
    out->self = e == m->self;
}

static struct ring *make_ring(struct members *m, const struct ring_node *nodes, unsigned n, const struct ring *before, int64_t now_ms) {
    int64_t until_ms = now_ms + m->o.window_ms;
    return m->hooks.build != NULL ? m->hooks.build(m->hooks.ctx, nodes, n, m->o.slot_run, members_version(m), before, until_ms)
                                  : ring_build(nodes, n, m->o.slot_run, members_version(m), before, until_ms);
}

/* Who owned what before this node, which has been alone so far, came to the others. */
static struct ring *ring_without_us(struct members *m, const struct ring_node *nodes, unsigned n, int64_t now_ms) {
    struct ring_node *copy = mem_alloc(n * sizeof(*copy));
    memcpy(copy, nodes, n * sizeof(*copy));
    for (unsigned i = 0; i < n; i++) {
        copy[i].state = copy[i].self ? NODE_JOINING : copy[i].state;
    }
    struct ring *ring = make_ring(m, copy, n, NULL, now_ms);
    mem_free(copy);
    return ring;
}

static void build_ring(struct members *m, int64_t now_ms) {
    struct ring_node *nodes = mem_alloc((m->n + 1) * sizeof(*nodes));
    unsigned n = 0;
    for (unsigned i = 0; i < m->n; i++) {
        if (!member_is_gone(m->list[i]) || m->list[i] == m->self) {
            fill_node(m, m->list[i], now_ms, &nodes[n]);
            m->states[n] = nodes[n].state;
            n++;
        }
    }
    struct ring *before = m->ring != NULL && m->ring->n == 1 && n > 1 ? ring_without_us(m, nodes, n, now_ms) : m->ring;
    if (before != m->ring) {
        ring_unref(m->ring);
    }
    m->ring = make_ring(m, nodes, n, before, now_ms);
    ring_unref(before);
    mem_free(nodes);
}

/* True when a state is another one than was published. */
static bool read_states(struct members *m, int64_t now_ms) {
    bool changed = false;
    for (unsigned i = 0, n = 0; i < m->n; i++) {
        if (!member_is_gone(m->list[i]) || m->list[i] == m->self) {
            uint8_t state = (uint8_t)members_state(m, m->list[i], now_ms);
            changed |= state != m->states[n];
            m->states[n++] = state;
        }
    }
    return changed;
}

void members_publish(struct members *m, int64_t now_ms) {
    if (m->set_dirty || m->ring == NULL) {
        build_ring(m, now_ms);
    } else if (read_states(m, now_ms) || m->ring->version != members_version(m)) {
        struct ring *before = m->ring;
        m->ring = ring_with_states(before, m->states, members_version(m));
        ring_unref(before);
    } else {
        return;
    }
    m->set_dirty = false;
    m->hooks.publish(m->hooks.ctx, ring_ref(m->ring));
}

/* ---- beginning and end ---- */

struct members *members_create(const struct members_options *o, const struct members_hooks *hooks, int64_t now_ms) {
    CHECK(strlen(o->id) == NODE_ID_HEX && o->addr.port > 0 && o->addr.bus_port > 0);
    struct members *m = mem_zalloc(sizeof(*m));
    m->o = *o;
    m->hooks = *hooks;
    m->random = o->seed;
    m->epoch = 1;
    m->stride = 1;
    m->next_number = (uint32_t)members_random(m);
    struct member_record r = {.addr = o->addr, .weight = o->weight, .lot = o->has_lot ? o->lot : 0, .intent = INTENT_JOINING, .incarnation = o->incarnation};
    memcpy(r.id, o->id, sizeof(r.id));
    m->has_lot = o->has_lot;
    m->self = add(m, &r, now_ms);
    m->round_ms = m->tick_ms = now_ms;
    m->refused_ms = now_ms;
    m->apart_ms = now_ms - 2 * o->timeout_ms; /* it was nothing yet */
    m->join_by_ms = now_ms + o->timeout_ms;
    remember(m, now_ms);
    members_settle(m, 0);
    m->epoch = 1;
    members_publish(m, now_ms);
    return m;
}

void members_destroy(struct members **mp) {
    struct members *m = *mp;
    *mp = NULL;
    for (unsigned i = 0; i < m->n; i++) {
        mem_free(m->list[i]);
    }
    ring_unref(m->ring);
    mem_free(m->list);
    mem_free(m->seeds);
    mem_free(m);
}

/* ---- what it is told ---- */

void members_set_weight(struct members *m, unsigned weight, int64_t now_ms) {
    if (m->self->r.weight != weight) {
        m->self->r.weight = (uint16_t)weight;
        members_self_changed(m);
        members_publish(m, now_ms);
    }
}

void members_set_times(struct members *m, int64_t remove_after_ms, int64_t window_ms) {
    m->o.remove_after_ms = remove_after_ms;
    m->o.window_ms = window_ms;
}

/* ---- settings: no part of a record, so that a change of theirs makes no new ring ---- */

void members_compare_settings(struct members *m, struct member *e) {
    static const char *const texts[] = {"has the policies and directives of this node again", "has other policies than this node",
                                        "has other databases, handover-window or gutter-ttl than this node",
                                        "has other policies, and other databases, handover-window or gutter-ttl, than this node"};
    uint64_t other = e->settings ^ m->o.settings;
    uint8_t differs = (uint8_t)(((uint32_t)other != 0 ? DIFFER_POLICIES : 0) | (other >> 32 != 0 ? DIFFER_DIRECTIVES : 0));
    if (e->heard_settings && differs != e->differs) {
        e->differs = differs;
        members_tell(m, MEMBERS_DIFFERS, e->r.id, texts[differs]);
    }
}

void members_set_settings(struct members *m, uint64_t settings) {
    m->o.settings = settings;
    for (unsigned i = 0; i < m->n; i++) {
        members_compare_settings(m, m->list[i]);
    }
}

unsigned members_differs(const struct members *m, const char *id) {
    const struct member *e = members_find(m, id);
    return e != NULL && !member_is_gone(e) ? e->differs : 0;
}

static void add_seed(struct members *m, const struct node_addr *at, int64_t until_ms, int64_t now_ms) {
    m->seeds = mem_realloc(m->seeds, (m->seed_count + 1) * sizeof(*m->seeds));
    m->seeds[m->seed_count++] = (struct seed){
        .addr = *at, .until_ms = until_ms, .next_ms = now_ms, .self = node_addr_equal(at, &m->self->r.addr)};
}

void members_set_seeds(struct members *m, const struct node_addr *seeds, unsigned n, bool authoritative, int64_t now_ms) {
    struct seed *old = m->seeds;
    unsigned old_count = m->seed_count;
    m->seeds = NULL;
    m->seed_count = 0;
    for (unsigned i = 0; i < n; i++) {
        if (members_seed_at(m, &seeds[i]) == NULL) {
            add_seed(m, &seeds[i], -1, now_ms);
        }
    }
    for (unsigned i = 0; i < old_count; i++) { /* what was learnt of those that stay, and what MEET named */
        struct seed *now = members_seed_at(m, &old[i].addr);
        if (now != NULL) {
            old[i].until_ms = -1;
            *now = old[i];
        } else if (old[i].until_ms >= 0) {
            add_seed(m, &old[i].addr, old[i].until_ms, old[i].next_ms);
        }
    }
    mem_free(old);
    m->authoritative = authoritative;
    if (n == 0 && !authoritative && m->seed_count == 0 && !members_remembers(m)) {
        members_become_member(m);
        members_publish(m, now_ms);
    }
}

void members_meet(struct members *m, const struct node_addr *at, int64_t now_ms) {
    if (m->alone) { /* the others have had its share meanwhile */
        m->alone = false;
        members_tell(m, MEMBERS_DOUBTED, m->self->r.id, verdict_names[VERDICT_FORGOTTEN]);
    }
    if (m->self->r.intent == INTENT_LEAVING) {
        m->self->r.intent = INTENT_MEMBER;
        members_self_changed(m);
    }
    struct seed *seed = members_seed_at(m, at);
    if (seed == NULL && m->seed_count < RING_MAX_NODES * 2) {
        add_seed(m, at, now_ms + MEMBERS_MEET_MS, now_ms);
    } else if (seed != NULL) {
        seed->next_ms = now_ms;
        seed->tries = 0;
    }
    members_ping_seeds(m, now_ms);
}

bool members_forget(struct members *m, const char *id, int64_t now_ms) {
    struct member *e = members_find(m, id);
    if (e == NULL || e == m->self || member_is_gone(e)) {
        return false;
    }
    members_give_verdict(m, e, VERDICT_FORGOTTEN, now_ms);
    members_send(m, MEMBERS_PING, e->r.id, &e->r.addr, 0, e->r.id); /* its last word from us */
    members_publish(m, now_ms);
    return true;
}

void members_leave(struct members *m, int64_t now_ms) {
    if (m->self->r.intent < INTENT_LEAVING) {
        m->self->r.intent = INTENT_LEAVING;
        members_self_changed(m);
        members_publish(m, now_ms);
    }
}

void members_leave_for_good(struct members *m, int64_t now_ms) {
    (void)now_ms;
    m->self->r.intent = INTENT_LEFT;
    members_self_changed(m);
    for (unsigned i = 0; i < m->n; i++) {
        if (members_up(m, m->list[i])) {
            members_send(m, MEMBERS_PING, m->list[i]->r.id, &m->list[i]->r.addr, 0, m->list[i]->r.id);
        }
    }
}

/* ---- what it tells ---- */

bool members_joined(const struct members *m) {
    return m->self->r.intent != INTENT_JOINING;
}

const struct member_record *members_self(const struct members *m) {
    return &m->self->r;
}

void members_stats_read(const struct members *m, struct members_stats *out) {
    *out = m->stats;
    out->nodes = out->answering = out->differing = 0;
    for (unsigned i = 0; i < m->n; i++) {
        out->nodes += !member_is_gone(m->list[i]);
        out->differing += !member_is_gone(m->list[i]) && m->list[i]->differs != 0;
        out->answering += m->list[i] == m->self || (members_up(m, m->list[i]) && m->list[i]->r.verdict == VERDICT_ALIVE);
    }
}

void members_each(const struct members *m, void (*fn)(void *ctx, const struct member_record *r, enum node_state state, int64_t heard_ms), void *ctx) {
    for (unsigned i = 0; i < m->n; i++) {
        const struct member *e = m->list[i];
        fn(ctx, &e->r, members_state(m, e, m->tick_ms), e->acked_ms);
    }
}
