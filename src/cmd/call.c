/* SPDX-License-Identifier: BSD-3-Clause */
/* call: what handlers do to keys, and the replies and argument checks they share. */
#include "src/cmd/call.h"
#include "src/tier/tier.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>

#include "src/base/check.h"
#include "src/sight/sight.h"

void call_read_far(struct call *c, int i, const struct item_view *v) {
    bool found = v != NULL, stale = found && v->stale;
    c->read = true;
    c->read_expire_ms = found ? v->expire_ms : INT64_MIN;
    c->read_written = found ? v->written : 0;
    unsigned asked = c->asked != NULL ? c->asked[i] : 0;
    for (unsigned t = STAT_L2; t < STAT_TIERS; t++) {
        bool answered = found && asked >> t == 1; /* nobody behind it was asked */
        if (asked >> t & 1) {
            STAT_ADD(*(answered ? &c->stats->tiers[t].hits : &c->stats->tiers[t].misses), 1);
        }
    }
    if (stale && !(asked >> STAT_ORIGIN & 1)) { /* what an origin does not let us keep counts as stale from the start */
        c->stale = true;
        STAT_ADD(stats_more(&c->stats->commands[c->cmd->id])->stale, 1);
        STAT_ADD(c->stats->tiers[asked == 0 ? STAT_L1 : 31 - __builtin_clz(asked)].stale, 1);
    }
}

void call_changed(struct call *c, int i, enum key_change change) {
    ASSERT(i < c->nkeys);
    if (c->changes == NULL) {
        c->changes = arena_alloc(c->arena, (size_t)c->nkeys);
        memset(c->changes, CHANGE_NONE, (size_t)c->nkeys);
    }
    c->changes[i] = (uint8_t)change;
    c->changed++;
    if (settled_is_on(&c->host->tier->settled)) {
        settled_add(&c->host->tier->settled, &c->keys[i]);
    }
}

/* The value of key i has so many bytes now. */
static inline void note_size(struct call *c, int i, size_t bytes) {
    big_note(&c->host->sight->big, &c->keys[i], bytes);
}

static bool already_past(const struct call *c, int64_t expire_ms) {
    return expire_ms != L1_NO_TTL && expire_ms != L1_KEEP_TTL && expire_ms <= c->now_ms;
}

/* The value is nearly all of the input buffer: taking the buffer wastes little, copying a large one would stall. */
static bool may_adopt(const struct call *c, struct slice value) {
    const struct buf *in = c->input;
    return value.p >= in->p && value.p + value.n <= in->p + in->n && value.n >= in->cap / 4 * 3;
}

/* The session's input as a blob of the value within it: one reference for the item, one for the dispatcher, as the other
 * arguments live in it, too. NULL without memory. */
static struct blob *adopt(struct call *c, struct slice value) {
    struct blob *b = blob_adopt(c->input->p, c->input->cap, value);
    if (b != NULL) {
        *c->input = (struct buf){0};
        c->input = NULL;
        c->adopted = blob_ref(b);
    }
    return b;
}

static enum err set_adopted(struct call *c, int i, struct slice value, int64_t expire_ms, unsigned l1_flags) {
    struct blob *b = adopt(c, value);
    if (b == NULL) {
        return ERR_OUT_OF_MEMORY;
    }
    enum err e = l1_set_blob(c->l1, &c->keys[i], b, expire_ms, l1_flags, c->now_ms);
    if (e != OK) {
        blob_unref(b);
    }
    return e;
}

/* The owner will be back, and not know of it. */
void call_end_soon(struct call *c) {
    int64_t most = c->now_ms + c->conf->gutter_ttl;
    for (int i = 0; i < c->nkeys; i++) {
        struct item_view v;
        bool longer = l1_get(c->l1, &c->keys[i], c->now_ms, L1_NOTOUCH, &v) && (v.expire_ms == L1_NO_TTL || v.expire_ms > most);
        if (longer && !l1_expire(c->l1, &c->keys[i], most, c->now_ms)) {
            l1_del(c->l1, &c->keys[i], c->now_ms); /* no memory for a deadline */
        }
    }
}

/* What a lifetime given by the call becomes under the key's policy. */
static int64_t under_policy(const struct call *c, int i, int64_t expire_ms) {
    const struct rule *rule = c->exact ? NULL : call_rule(c, i);
    return rule == NULL ? expire_ms : guard_deadline(rule, (unsigned)c->client->loop_id, expire_ms, c->now_ms);
}

enum err call_set(struct call *c, int i, struct slice value, int64_t expire_ms, unsigned l1_flags) {
    expire_ms = under_policy(c, i, expire_ms);
    if (unlikely(already_past(c, expire_ms))) {
        call_del(c, i);
        return OK;
    }
    enum err e = unlikely(c->input != NULL) && may_adopt(c, value)
                     ? set_adopted(c, i, value, expire_ms, l1_flags)
                     : l1_set(c->l1, &c->keys[i], value, expire_ms, l1_flags, c->now_ms);
    if (likely(e == OK)) {
        call_changed(c, i, CHANGE_SET);
        note_size(c, i, value.n);
    }
    return e;
}

static enum err make_ready(struct call *c, int i, struct slice value, bool made, struct l1_ready *ready) {
    struct blob *b = NULL;
    if (unlikely(c->input != NULL) && may_adopt(c, value)) {
        b = adopt(c, value);
        if (b == NULL) {
            return ERR_OUT_OF_MEMORY;
        }
    }
    enum err e = l1_ready(c->l1, &c->keys[i], value, b, made, c->now_ms, ready);
    if (e != OK && b != NULL) {
        blob_unref(b);
    }
    return e;
}

enum err call_set_all(struct call *c, int first, int step) {
    if (c->nkeys == 1) {
        return call_set(c, 0, c->argv[first], L1_NO_TTL, 0);
    }
    struct l1_ready *ready = arena_alloc(c->arena, (size_t)c->nkeys * sizeof(*ready));
    bool made = false;
    for (int i = 0; i < c->nkeys; i++) {
        enum err e = make_ready(c, i, c->argv[first + i * step], made, &ready[i]);
        if (unlikely(e != OK)) {
            while (i-- > 0) {
                l1_ready_undo(c->l1, &c->keys[i], &ready[i]);
            }
            return e;
        }
        made |= ready[i].how == READY_MADE;
    }
    for (int i = 0; i < c->nkeys; i++) {
        l1_ready_set(c->l1, &c->keys[i], c->argv[first + i * step], &ready[i]);
        call_changed(c, i, CHANGE_SET);
        note_size(c, i, c->argv[first + i * step].n);
    }
    return OK;
}

enum err call_set_value(struct call *c, int i, struct value *value, int64_t expire_ms) {
    expire_ms = under_policy(c, i, expire_ms);
    if (already_past(c, expire_ms)) {
        value_unref(value);
        call_del(c, i);
        return OK;
    }
    enum err e = l1_set_value(c->l1, &c->keys[i], value, expire_ms, c->now_ms);
    if (e != OK) {
        value_unref(value);
        return e;
    }
    call_changed(c, i, CHANGE_SET);
    note_size(c, i, value_bytes(value));
    return OK;
}

enum err call_string_mut(struct call *c, int i, size_t len, char **out) {
    enum err e = l1_string_mut(c->l1, &c->keys[i], len, c->now_ms, out);
    if (e == OK) {
        call_changed(c, i, CHANGE_SET);
        note_size(c, i, len);
    }
    return e;
}

void call_string_raw(struct call *c, int i) {
    l1_string_raw(c->l1, &c->keys[i]);
}

struct value *call_value_mut(struct call *c, int i) {
    return l1_value_mut(c->l1, &c->keys[i]);
}

bool call_value_changed(struct call *c, int i) {
    size_t bytes = l1_value_changed(c->l1, &c->keys[i]);
    call_changed(c, i, bytes == 0 ? CHANGE_DEL : CHANGE_SET);
    note_size(c, i, bytes);
    return bytes == 0;
}

/* A deletion of what is not there is no change, but its word counts: whoever was let go to load the key does so in vain. */
static void revoke(struct call *c, int i) {
    struct guard *g = c->host->tier->guard;
    if (unlikely(guard_is_active(g))) {
        guard_changed(g, NULL, &c->keys[i], SINK_DEL, (unsigned)c->client->loop_id, c->now_ms);
    }
}

void call_value_kept(struct call *c, int i) {
    l1_value_kept(c->l1, &c->keys[i]);
}

bool call_del(struct call *c, int i) {
    bool found = l1_del(c->l1, &c->keys[i], c->now_ms);
    bool unseen = !found && c->access[i] == KEY_W && c->host->tier->sink_count != 0;
    if (unseen) {
        l1_del_below(c->l1, &c->keys[i]);
    }
    if (found || unseen) {
        call_changed(c, i, CHANGE_DEL);
    } else {
        revoke(c, i);
    }
    return found;
}

enum err call_expire(struct call *c, int i, int64_t expire_ms) {
    expire_ms = under_policy(c, i, expire_ms);
    if (already_past(c, expire_ms)) {
        call_del(c, i);
        return OK;
    }
    if (!l1_expire(c->l1, &c->keys[i], expire_ms, c->now_ms)) {
        return ERR_OUT_OF_MEMORY;
    }
    call_changed(c, i, CHANGE_EXPIRE);
    return OK;
}

enum err call_errorf(struct call *c, const char *fmt, ...) {
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    size_t len = n < (int)sizeof(text) ? (size_t)n : sizeof(text) - 1;
    reply_error(c->out, slice_make(text, len));
    return ERR_REPLIED;
}

static void release_blob(void *owner) {
    blob_unref(owner);
}

void call_reply_string(struct call *c, const struct item_view *v) {
    if (likely(v->blob == NULL)) {
        reply_bulk(c->out, v->str);
        return;
    }
    reply_bulk_ref(c->out, v->str, blob_ref(v->blob), release_blob);
}

static enum err bad_expire(struct call *c) {
    return call_errorf(c, "ERR invalid expire time in '%s' command", c->cmd->full_name);
}

enum err arg_expire(struct call *c, int i, int64_t unit_ms, bool relative, int64_t *deadline_ms) {
    int64_t v;
    if (!num_parse_i64(c->argv[i], &v)) {
        return ERR_NOT_INT;
    }
    if (v <= 0 || v > INT64_MAX / unit_ms) {
        return bad_expire(c);
    }
    v *= unit_ms;
    if (relative) {
        if (v > INT64_MAX - c->now_ms) {
            return bad_expire(c);
        }
        v += c->now_ms;
    }
    *deadline_ms = v;
    return OK;
}

enum err call_arity_error(struct call *c) {
    return call_errorf(c, "ERR wrong number of arguments for '%s' command", c->cmd->full_name);
}

/* The name of the container, in capitals as in texts for people. */
static void container_name(const struct call *c, char *name, size_t size) {
    const struct cmd *top = c->cmd->parent != NULL ? c->cmd->parent : c->cmd;
    size_t n = 0;
    for (const char *p = top->row->name; *p != '\0' && n + 1 < size; p++) {
        name[n++] = (char)toupper((unsigned char)*p);
    }
    name[n] = '\0';
}

enum err call_too_many(struct call *c) {
    char name[64];
    container_name(c, name, sizeof(name));
    return call_errorf(c, "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try %s HELP.", SLICE_ARG(c->argv[1]), name);
}

enum err call_reply_help(struct call *c, const char *const *lines) {
    char name[64], head[128];
    container_name(c, name, sizeof(name));
    struct reply_deferred d = reply_defer(c->out, '*');
    snprintf(head, sizeof(head), "%s <subcommand> [<arg> [value] [opt] ...]. Subcommands are:", name);
    reply_status(c->out, head);
    int64_t count = 1;
    for (; lines[count - 1] != NULL; count++) {
        reply_status(c->out, lines[count - 1]);
    }
    reply_status(c->out, "HELP");
    reply_status(c->out, "    Print this help.");
    reply_defer_end(c->out, d, count + 2);
    return OK;
}

enum err call_wait(struct call *c, struct call_job *job) {
    ASSERT(call_may_yield(c));
    c->host->ops->wait(c, job);
    return ERR_PARKED;
}

enum err call_yield(struct call *c) {
    ASSERT(call_may_yield(c));
    c->host->ops->yield(c);
    return ERR_PARKED;
}
