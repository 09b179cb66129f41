/* SPDX-License-Identifier: BSD-3-Clause */
/* cache_explain: CACHE EXPLAIN: where a key is, how long it lives, and what the guards know of it. Nothing is loaded or moved for
 * it: the disk is read on a thread of the pool, and what is found there stays there. */
#include "src/cmd/cache.h"

#include <pthread.h>
#include <stdio.h>

#include "cluster/ring.h"
#include "src/base/mem.h"
#include "src/cmd/call.h"
#include "src/iface/source.h"
#include "src/l1/shard.h"
#include "src/tier/tier.h"

enum { READ_MS = 1000 /* how long the disk may take */ };

/* What the disk tier has of the key, read between two runs of the handler. */
struct reading {
    struct call_job job;
    struct source *source;
    struct fetch fetch;
    struct buf name;
    pthread_mutex_t mutex;
    pthread_cond_t came;
    bool done;
};

static void on_read(struct fetch *f) {
    struct reading *r = (struct reading *)((char *)f - offsetof(struct reading, fetch));
    pthread_mutex_lock(&r->mutex);
    r->done = true;
    pthread_cond_signal(&r->came);
    pthread_mutex_unlock(&r->mutex);
}

static void read_below(struct job *job) {
    struct reading *r = (struct reading *)job;
    r->source->fetch(r->source, &r->fetch);
    pthread_mutex_lock(&r->mutex);
    while (!r->done) {
        pthread_cond_wait(&r->came, &r->mutex);
    }
    pthread_mutex_unlock(&r->mutex);
}

static void reading_free(void *state) {
    struct reading *r = state;
    found_free(&r->fetch.found);
    pthread_mutex_destroy(&r->mutex);
    pthread_cond_destroy(&r->came);
    buf_free(&r->name);
    mem_free(r);
}

/* The disk tier, or NULL. */
static struct source *disk_of(const struct tier *t) {
    for (unsigned i = 0; i < t->source_count; i++) {
        if (t->sources[i]->tier == STAT_L2) {
            return t->sources[i];
        }
    }
    return NULL;
}

static enum err begin_reading(struct call *c, struct source *source) {
    struct reading *r = mem_zalloc(sizeof(*r));
    const struct key *key = &c->keys[0];
    pthread_mutex_init(&r->mutex, NULL);
    pthread_cond_init(&r->came, NULL);
    buf_put_slice(&r->name, key->name);
    r->source = source;
    r->job.job.run = read_below;
    r->fetch = (struct fetch){.key = {buf_slice(&r->name), key->hash, key->db}, .deadline_ms = c->now_ms + READ_MS, .done = on_read};
    r->fetch.found.expire_ms = L1_NO_TTL;
    c->state = r;
    c->state_free = reading_free;
    return call_wait(c, &r->job);
}

/* ---- the reply ---- */

static void put_text(struct out *o, const char *name, const char *text, int64_t *pairs) {
    reply_bulk_cstr(o, name);
    if (text != NULL) {
        reply_bulk_cstr(o, text);
    } else {
        reply_null(o);
    }
    ++*pairs;
}

/* there: else null. */
static void put_number(struct out *o, const char *name, bool there, int64_t v, int64_t *pairs) {
    reply_bulk_cstr(o, name);
    if (there) {
        reply_int(o, v);
    } else {
        reply_null(o);
    }
    ++*pairs;
}

/* The value's lifetime: fresh up to the soft deadline, to be had while it is refreshed up to the hard one. */
static void put_life(struct call *c, const struct item_view *v, int64_t *pairs) {
    struct item_extra e = {0};
    bool found = v->type != TYPE_NONE;
    bool ends = found && v->expire_ms != L1_NO_TTL && item_extra_get(v->extra, &e);
    bool stale = ends && v->expire_ms <= c->now_ms;
    put_text(c->out, "state", !found ? "absent" : stale ? "stale" : "fresh", pairs);
    put_number(c->out, "age_ms", found && v->written != 0, item_stamp_age(v->written, c->now_ms), pairs);
    put_number(c->out, "ttl_ms", ends, v->expire_ms - c->now_ms, pairs);
    put_number(c->out, "soft_deadline_ms", ends, v->expire_ms, pairs);
    put_number(c->out, "hard_deadline_ms", ends, v->expire_ms + (int64_t)e.grace_ms, pairs);
    put_number(c->out, "load_ms", e.load_ms != 0, e.load_ms, pairs);
    put_number(c->out, "tags", found, e.tags, pairs);
}

static void put_policy(struct call *c, int64_t *pairs) {
    struct rules *rules = guard_rules(c->host->tier->guard);
    const struct rule *rule = rules_match(rules, c->keys[0].name);
    reply_bulk_cstr(c->out, "policy");
    if (rule != NULL) {
        reply_bulk(c->out, rule->pattern);
    } else {
        reply_null(c->out);
    }
    ++*pairs;
    put_text(c->out, "origin", rule != NULL && rule->opt.origin[0] != '\0' ? rule->opt.origin : NULL, pairs);
    rules_unref(rules);
}

/* What is under way for the key, and what is remembered of it. */
static void put_guard(struct call *c, int64_t *pairs) {
    static const char *const marks[] = {[MARK_NONE] = NULL, [MARK_ABSENT] = "absent", [MARK_FAILED] = "failed", [MARK_ALONE] = "alone"};
    struct guard *g = c->host->tier->guard;
    const struct key *key = &c->keys[0];
    struct shard *shard = &c->l1->shards[l1_shard_of(c->l1, key->hash)];
    const struct flight *flight = flight_find(&shard->flights, key);
    const struct lease *lease = lease_find(&g->leases[shard->id], key);
    put_text(c->out, "remembered", marks[marks_get(g->marks, key->hash, c->now_ms)], pairs);
    put_number(c->out, "loading", flight != NULL, flight != NULL ? flight->waiting : 0, pairs);
    put_number(c->out, "lease_left_ms", lease != NULL, lease != NULL ? lease->deadline_ms - c->now_ms : 0, pairs);
    put_number(c->out, "lease_waiting", lease != NULL, lease != NULL ? lease->waiting : 0, pairs);
    put_text(c->out, "lease_by", lease == NULL ? NULL : lease->owner != NULL ? "client" : "token", pairs);
    put_number(c->out, "lease_client", lease != NULL && lease->owner != NULL, lease != NULL && lease->owner != NULL ? (int64_t)lease->owner->client : 0, pairs);
}

/* A node of the ring as CLUSTER SLOTS has it: its id, and where clients reach it. NULL: there is no such thing. */
static void put_node(struct out *o, const char *name, const struct ring_node *node, int64_t *pairs) {
    char field[32], addr[NODE_HOST_BYTES + 16];
    snprintf(field, sizeof(field), "%s_addr", name);
    if (node != NULL) {
        snprintf(addr, sizeof(addr), strchr(node->host, ':') != NULL ? "[%s]:%u" : "%s:%u", node->host, node->port);
    }
    put_text(o, name, node != NULL ? node->id : NULL, pairs);
    put_text(o, field, node != NULL ? addr : NULL, pairs);
}

/* Whose the key is, and which node serves it while that one is silent. */
static void put_owner(struct call *c, int64_t *pairs) {
    struct ring *ring = c->host->rings != NULL ? ring_store_current(c->host->rings) : NULL;
    unsigned slot = hash_slot(c->keys[0].name);
    put_number(c->out, "slot", ring != NULL, slot, pairs);
    put_node(c->out, "owner", ring != NULL ? ring_owner(ring, slot) : NULL, pairs);
    put_node(c->out, "served_by", ring != NULL ? ring_serving(ring, slot) : NULL, pairs);
    if (ring != NULL) {
        ring_unref(ring);
    }
}

static const char *below_text(const struct call *c, bool found) {
    static const char *const texts[] = {[L1_BELOW_UNKNOWN] = "perhaps an older value", [L1_BELOW_ABSENT] = "nothing", [L1_BELOW_SAME] = "the same value"};
    return found && c->host->tier->sink_count > 0 ? texts[l1_below(c->l1, &c->keys[0])] : NULL;
}

static void put_memory(struct call *c, bool found, int64_t *pairs) {
    struct item_info info = {0};
    bool known = found && l1_info(c->l1, &c->keys[0], c->now_ms, &info);
    put_number(c->out, "bytes", known, (int64_t)info.bytes, pairs);
    put_number(c->out, "idle_ms", known, info.idle_ms, pairs);
    put_text(c->out, "below", below_text(c, found), pairs);
}

static void reply_explained(struct call *c, bool found, const struct item_view *v, const struct reading *r) {
    const struct found *f = r != NULL ? &r->fetch.found : NULL;
    bool below = !found && r != NULL && !r->job.refused && r->fetch.result == FETCH_FOUND;
    bool unknown = !found && disk_of(c->host->tier) != NULL && (r == NULL || r->job.refused || r->fetch.result == FETCH_ERROR);
    struct item_view there = {.type = TYPE_NONE};
    if (found) {
        there = *v;
    } else if (below) {
        there = (struct item_view){.type = f->value != NULL ? (enum value_type)f->value->type : TYPE_STRING,
                                   .expire_ms = f->expire_ms,
                                   .written = f->written,
                                   .extra = slice_make(f->extra, f->extra_n)};
    }
    int64_t pairs = 0;
    struct reply_deferred d = reply_defer(c->out, '%');
    put_text(c->out, "tier", found ? "l1" : below ? "l2" : unknown ? "unknown" : "none", &pairs);
    put_text(c->out, "type", value_type_name(there.type), &pairs);
    put_life(c, &there, &pairs);
    put_memory(c, found, &pairs);
    put_policy(c, &pairs);
    put_guard(c, &pairs);
    put_owner(c, &pairs);
    reply_defer_end(c->out, d, pairs);
}

enum err cache_explain_run(struct call *c) {
    struct item_view v = {0};
    struct reading *r = c->state;
    struct source *disk = disk_of(c->host->tier);
    bool found = l1_get(c->l1, &c->keys[0], c->now_ms, L1_NOTOUCH | L1_STALE, &v);
    if (!found && r == NULL && disk != NULL && call_may_yield(c)) {
        return begin_reading(c, disk);
    }
    c->state = NULL;
    reply_explained(c, found, &v, r);
    if (r != NULL) {
        reading_free(r);
    }
    return OK;
}
