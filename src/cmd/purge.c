/* SPDX-License-Identifier: BSD-3-Clause */
/* purge: TAG.ADD, TAG.PURGE, PREFIX.PURGE: many values invalidated at once, in every tier, at no cost per value; see src/guard/purge.h. */
#include <errno.h>

#include "src/base/mem.h"
#include "src/cmd/call.h"
#include "src/guard/purge.h"
#include "src/tier/tier.h"

static enum err tag_add_run(struct call *c) {
    struct item_view v;
    struct item_extra e;
    if (!call_peek(c, 0, &v)) {
        reply_int(c->out, 0);
        return OK;
    }
    if (!item_extra_get(v.extra, &e)) {
        return ERR_BAD_FORMAT;
    }
    unsigned before = e.tags;
    for (int i = 2; i < c->argc; i++) {
        uint32_t tag = purge_tag_hash(c->db, c->argv[i]);
        unsigned k = 0;
        while (k < e.tags && e.tag[k] != tag) {
            k++;
        }
        if (k == e.tags && e.tags == ITEM_MAX_TAGS) {
            return call_errorf(c, "ERR a key may have at most %d tags", ITEM_MAX_TAGS);
        }
        e.tag[k] = tag;
        e.tags = (uint8_t)(k == e.tags ? e.tags + 1 : e.tags);
    }
    unsigned char bytes[ITEM_EXTRA_MAX];
    e.stamp = tier_last_purge(c->host->tier); /* it is valid as of now */
    if (!l1_set_extra(c->l1, &c->keys[0], slice_make(bytes, item_extra_put(&e, bytes)), c->now_ms)) {
        return ERR_OUT_OF_MEMORY;
    }
    if (e.tags > before) {
        call_changed(c, 0, CHANGE_EXPIRE); /* the copy below has no such tag */
    }
    reply_int(c->out, e.tags - before);
    return OK;
}

/* A purge on its way: noted by a pool thread, then made. */
struct purging {
    struct call_job job;
    struct host *host;
    uint8_t db; /* physical, when the call came */
    bool tags, soft;
    const struct slice *names; /* of a job its own: the call's arguments move when it parks */
    int count;
    int error;      /* errno of noting it */
    uint64_t noted; /* number of the last that was; 0 none */
    int64_t now_ms;
};

static void note_all(struct purging *p) {
    for (int i = 0; i < p->count && p->error == 0; i++) {
        uint32_t tag = p->tags ? purge_tag_hash(p->db, p->names[i]) : 0;
        uint64_t number = p->host->ops->note_purge(p->host, p->db, tag, p->tags ? slice_make("", 0) : p->names[i], p->soft, p->now_ms);
        p->error = number == 0 ? errno : 0;
        p->noted = number != 0 ? number : p->noted;
    }
}

static void note_job(struct job *job) {
    note_all((struct purging *)job);
}

/* For a job: with the names copied behind it. */
static struct purging *make_job(const struct purging *now) {
    size_t bytes = 0;
    for (int i = 0; i < now->count; i++) {
        bytes += now->names[i].n;
    }
    struct purging *p = mem_alloc(sizeof(*p) + (size_t)now->count * sizeof(struct slice) + bytes);
    struct slice *names = (struct slice *)(p + 1);
    char *at = (char *)(names + now->count);
    *p = *now;
    p->names = names;
    p->job.job.run = note_job;
    for (int i = 0; i < now->count; i++) {
        memcpy(at, now->names[i].p, now->names[i].n);
        names[i] = slice_make(at, now->names[i].n);
        at += now->names[i].n;
    }
    return p;
}

/* Without a disk nothing is noted. False: too many. */
static bool purge_now(struct call *c, const struct purging *p) {
    struct guard *g = c->host->tier->guard;
    bool ok = true;
    for (int i = 0; i < p->count && ok; i++) {
        ok = p->tags ? guard_purge_tag(g, purge_tag_hash(p->db, p->names[i]), p->soft, c->now_ms)
                     : guard_purge_prefix(g, p->db, p->names[i], p->soft, c->now_ms);
    }
    return ok;
}

static enum err make_purge(struct call *c, const struct purging *p) {
    if (p->noted != 0) { /* in part, too: the next start would make it */
        c->host->ops->make_purges(c->host, p->noted);
    } else if (p->error == 0 && !purge_now(c, p)) {
        return call_errorf(c, "ERR too many purges: see purge-max");
    }
    tier_changed(c->host->tier, NULL);
    if (p->error != 0) {
        return call_errorf(c, "ERR the purge could not be noted on disk: %s", strerror(p->error));
    }
    reply_ok(c->out);
    return OK;
}

/* Before it is noted: what is noted is in force at the next start. */
static bool has_room(const struct call *c, const struct purging *p) {
    const struct purges *purges = c->host->tier->guard->purges;
    size_t more = 0;
    for (int i = 0; i < p->count; i++) {
        more += p->tags ? !purges_has_tag(purges, purge_tag_hash(p->db, p->names[i])) : !purges_has_prefix(purges, p->db, p->names[i]);
    }
    return more == 0 || purges_have_room(purges, more);
}

static enum err purge(struct call *c, bool tags, int first, int count, bool soft) {
    struct purging *p = c->state;
    bool lasting = c->host->ops->note_purge != NULL && c->host->ops->lasting_purges(c->host);
    struct purging now = {.host = c->host, .db = c->db, .tags = tags, .soft = soft, .names = &c->argv[first], .count = count, .now_ms = c->now_ms};
    if (p == NULL && !has_room(c, &now)) {
        return call_errorf(c, "ERR too many purges: see purge-max");
    }
    if (p == NULL && lasting && call_may_yield(c)) {
        p = make_job(&now);
        c->state = p;
        c->state_free = mem_free;
        return call_wait(c, &p->job);
    }
    if (p != NULL && p->job.refused) {
        p->job.refused = false;
        return call_wait(c, &p->job);
    }
    if (p == NULL && lasting) {
        note_all(&now); /* in EXEC, which cannot wait */
    }
    enum err e = make_purge(c, p != NULL ? p : &now);
    mem_free(p);
    c->state = NULL;
    return e;
}

static enum err tag_purge_run(struct call *c) {
    bool soft = c->argc > 2 && arg_is(c, c->argc - 1, "SOFT");
    return purge(c, true, 1, c->argc - 1 - soft, soft);
}

static enum err prefix_purge_run(struct call *c) {
    if (c->argc > 3 || (c->argc == 3 && !arg_is(c, 2, "SOFT"))) {
        return ERR_SYNTAX;
    }
    return purge(c, false, 1, 1, c->argc == 3);
}

const struct command purge_commands[] = {
    {.name = "tag.add", .syntax = "key tag [tag ...]", .arity = -3, .keys = "1:RW", .flags = CMD_WRITE | CMD_DENYOOM | CMD_FAST | CMD_REPEATABLE, .run = tag_add_run,
     .since = "7.2.0", .cost = "O(N) for N tags", .summary = "Marks a key's value with tags that TAG.PURGE knows it by."},
    {.name = "tag.purge", .syntax = "tag [tag ...] [SOFT]", .arity = -2, .flags = CMD_WRITE | CMD_ALL_SHARDS | CMD_KEYSPACE | CMD_REPEATABLE, .run = tag_purge_run,
     .spread = SPREAD_FIRST, .since = "7.2.0", .cost = "O(N) for N tags", .summary = "Invalidates every value that has one of the tags."},
    {.name = "prefix.purge", .syntax = "prefix [SOFT]", .arity = -2, .flags = CMD_WRITE | CMD_ALL_SHARDS | CMD_KEYSPACE | CMD_REPEATABLE, .run = prefix_purge_run,
     .spread = SPREAD_FIRST, .since = "7.2.0", .cost = "O(1)", .summary = "Invalidates every value whose key begins so."},
    {0}};
