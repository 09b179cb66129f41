/* SPDX-License-Identifier: BSD-3-Clause */
/* due: replies in order. */
#include "src/server/due.h"

#include "src/base/check.h"
#include "src/server/channel.h"
#include "src/server/session.h"

void dues_init(struct dues *dues) {
    list_init(&dues->list);
}

static struct due *first_of(const struct dues *dues) {
    return LIST_ENTRY(dues->list.next, struct due, node);
}

struct out *dues_front(struct session *s) {
    return list_empty(&s->dues.list) ? &s->out : &first_of(&s->dues)->before;
}

size_t dues_bytes(const struct session *s) {
    size_t n = 0;
    for (struct list *at = s->dues.list.next; at != &s->dues.list; at = at->next) {
        const struct due *d = LIST_ENTRY(at, struct due, node);
        n += out_bytes(&d->before) + out_bytes(&d->reply);
    }
    return n + (list_empty(&s->dues.list) ? 0 : out_bytes(&s->out));
}

void due_begin(struct session *s, struct due *d) {
    d->before = s->out;
    s->out = (struct out){.proto = d->before.proto};
    d->reply.proto = d->before.proto;
    list_push_back(&s->dues.list, &d->node);
    s->dues.count++;
    s->dues.begun++;
}

static void leave(struct session *s, struct due *d) {
    list_remove(&d->node);
    s->dues.count--;
}

/* Everything up to the first reply still missing may go. */
static void release_front(struct session *s) {
    while (!list_empty(&s->dues.list) && first_of(&s->dues)->done) {
        struct due *d = first_of(&s->dues);
        leave(s, d);
        struct out *behind = dues_front(s);
        uint8_t proto = behind->proto; /* HELLO may have run behind the missing reply */
        out_append(&d->before, &d->reply);
        out_append(&d->before, behind);
        out_free(behind);
        *behind = d->before;
        behind->proto = proto;
        d->before = (struct out){0};
        d->release(d);
    }
    session_want_flush(s);
}

void due_done(struct session *s, struct due *d) {
    ASSERT(!d->done);
    d->done = true;
    if (d->silent) {
        out_truncate(&d->reply, 0, 0);
    }
    if (unlikely(s->channel != NULL)) { /* the peer puts replies in order: none waits for another */
        leave(s, d);
        s->channel->replied(s->channel, d->tag, &d->reply);
        d->release(d);
        return;
    }
    release_front(s);
}

void dues_close(struct session *s) {
    while (!list_empty(&s->dues.list)) {
        struct due *d = first_of(&s->dues);
        leave(s, d);
        d->orphan(d);
    }
}
