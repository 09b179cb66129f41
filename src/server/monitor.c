/* SPDX-License-Identifier: BSD-3-Clause */
/* monitor: the line of a call is made once and shared by the loops that have monitors. */
#include "src/server/monitor.h"

#include <ctype.h>
#include <stdatomic.h>

#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/server/server.h"
#include "src/server/session.h"

struct line {
    _Atomic unsigned refs; /* one per loop */
    struct buf text;
};

static void put_quoted(struct buf *b, struct slice s) {
    buf_putc(b, '"');
    for (size_t i = 0; i < s.n; i++) {
        unsigned char ch = (unsigned char)s.p[i];
        const char *plain = strchr("\n\r\t\a\b", ch);
        if (ch == '\\' || ch == '"') {
            buf_printf(b, "\\%c", ch);
        } else if (ch != 0 && plain != NULL) {
            buf_printf(b, "\\%c", "nrtab"[plain - strchr("\n\r\t\a\b", '\n')]);
        } else if (isprint(ch)) {
            buf_putc(b, (char)ch);
        } else {
            buf_printf(b, "\\x%02x", ch);
        }
    }
    buf_putc(b, '"');
}

static void deliver(struct worker *w, void *arg) {
    struct line *line = arg;
    for (struct list *n = w->sessions.next; n != &w->sessions; n = n->next) {
        struct session *s = LIST_ENTRY(n, struct session, client.node);
        if (client_is(&s->client, CLIENT_MONITOR) && !s->closing) {
            session_out_ready(s);
            reply_status(&s->out, "");
            s->out.buf.n -= 2; /* the empty status's CRLF: the text brings its own */
            buf_put_slice(&s->out.buf, buf_slice(&line->text));
            session_want_flush(s);
        }
    }
    if (atomic_fetch_sub_explicit(&line->refs, 1, memory_order_acq_rel) == 1) {
        buf_free(&line->text);
        mem_free(line);
    }
}

void monitor_feed(struct server *srv, const struct call *c) {
    struct line *line = mem_zalloc(sizeof(*line));
    int64_t now_us = clock_now_us();
    buf_printf(&line->text, "%lld.%06lld [%u %s]", (long long)(now_us / 1000000),
               (long long)(now_us % 1000000),
               (unsigned)atomic_load_explicit(&c->client->db, memory_order_relaxed),
               client_is(c->client, CLIENT_UNIX) ? "unix" : c->client->addr);
    for (int i = 0; i < c->argc; i++) {
        buf_putc(&line->text, ' ');
        put_quoted(&line->text, c->argv[i]);
    }
    buf_puts(&line->text, "\r\n");
    atomic_init(&line->refs, srv->host.loop_count);
    for (unsigned i = 0; i < srv->host.loop_count; i++) {
        worker_post(srv->workers[i], deliver, line);
    }
}

void monitor_start(struct call *c) {
    if (!client_is(c->client, CLIENT_MONITOR)) {
        client_flag(c->client, CLIENT_MONITOR, true);
        atomic_fetch_add_explicit(&c->host->monitors, 1, memory_order_relaxed);
        session_of(c->client)->worker->slow = true;
    }
}
