/* SPDX-License-Identifier: BSD-3-Clause */
/* purge: TAG.ADD, TAG.PURGE, PREFIX.PURGE: many values invalidated at once, in every tier, at no cost per value; see src/guard/purge.h. */
#include <errno.h>

#include "src/base/mem.h"
#include "src/cmd/call.h"
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
    struct call *call;
    uint8_t db; /* physical, when the call came */
    bool tags, soft;
    int first, count; /* its names among the arguments */
    int error;        /* errno of noting it */
};

static bool note_all(struct call *c, struct purging *p) {
    for (int i = 0; i < p->count; i++) {
        uint32_t tag = p->tags ? purge_tag_hash(p->db, c->argv[p->first + i]) : 0;
        struct slice prefix = p->tags ? slice_make("", 0) : c->argv[p->first + i];
        if (!c->host->ops->note_purge(c->host, p->db, tag, prefix, p->soft, c->now_ms)) {
            p->error = errno;
            return false;
        }
    }
    return true;
}

static void note_job(struct job *job) {
    struct purging *p = (struct purging *)job;
    note_all(p->call, p);
}

static enum err make_purge(struct call *c, const struct purging *p) {
    struct guard *g = c->host->tier->guard;
    if (p->error != 0) {
        return call_errorf(c, "ERR the purge could not be noted on disk: %s", strerror(p->error));
    }
    for (int i = 0; i < p->count; i++) {
        struct slice name = c->argv[p->first + i];
        bool ok = p->tags ? guard_purge_tag(g, purge_tag_hash(p->db, name), p->soft, c->now_ms)
                          : guard_purge_prefix(g, p->db, name, p->soft, c->now_ms);
        if (!ok) {
            return call_errorf(c, "ERR too many purges: see purge-max");
        }
    }
    reply_ok(c->out);
    return OK;
}

static enum err purge(struct call *c, bool tags, int first, int count, bool soft) {
    struct purging *p = c->state;
    bool lasting = c->host->ops->note_purge != NULL && c->host->ops->lasting_purges(c->host);
    if (p == NULL && lasting && call_may_yield(c)) {
        p = mem_zalloc(sizeof(*p));
        *p = (struct purging){.call = c, .db = c->db, .tags = tags, .soft = soft, .first = first, .count = count};
        p->job.job.run = note_job;
        c->state = p;
        c->state_free = mem_free;
        return call_wait(c, &p->job);
    }
    if (p != NULL && p->job.refused) {
        p->job.refused = false;
        return call_wait(c, &p->job);
    }
    struct purging now = p != NULL ? *p : (struct purging){.db = c->db, .tags = tags, .soft = soft, .first = first, .count = count};
    if (p == NULL && lasting) {
        note_all(c, &now); /* in EXEC, which cannot wait */
    }
    mem_free(p);
    c->state = NULL;
    return make_purge(c, &now);
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
