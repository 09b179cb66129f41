/* SPDX-License-Identifier: BSD-3-Clause */
/* session: connections: bytes in, replies out, limits. */
#include "src/server/session.h"

#include <stdio.h>
#include <unistd.h>

#include "src/base/check.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/net/send.h"
#include "src/rt/loop.h"
#include "src/server/channel.h"
#include "src/server/forward.h"
#include "src/server/park.h"
#include "src/server/server.h"
#include "src/server/txn.h"

enum {
    OWN_ROOM_BYTES = 16 << 10,       /* read at least so much into an own buffer */
    TURN_READ_BYTES = 128 << 10,     /* a session that sent more in one turn is read again when all of it has run */
    TURN_VALUE_BYTES = 256 << 10,      /* the same while a large request is arriving, which costs reading alone */
    OWN_KEEP_BYTES = 32 << 10        /* an empty own buffer larger than this is freed */
};

/* ---- lists ---- */

/* For its parked call, or braked, or for peers. */
static bool is_waiting(const struct session *s) {
    return s->parked != NULL || !list_empty(&s->brake_node) || s->stopped;
}

void session_make_ready(struct session *s) {
    if (!s->closing && list_empty(&s->ready_node) && !is_waiting(s) && s->in_at < s->in_n) {
        list_push_back(&s->worker->ready, &s->ready_node);
    }
}

void session_read_on(struct session *s) {
    if (unlikely(s->read_paused) && !s->closing && list_empty(&s->reader_node)) {
        list_push_back(&s->worker->readers, &s->reader_node);
    }
}

void session_go_on(struct session *s) {
    session_make_ready(s);
    session_read_on(s);
}

void session_want_flush(struct session *s) {
    if (!s->closing && list_empty(&s->flush_node)) {
        list_push_back(&s->worker->flushing, &s->flush_node);
    }
}

/* ---- input ---- */

/* Moves what is left in the read area (or further up in own) to the start of own. */
static void own_input(struct session *s) {
    size_t left = s->in_n - s->in_at;
    if (s->in != s->own.p) {
        buf_clear(&s->own);
        buf_put(&s->own, s->in + s->in_at, left);
    } else if (s->in_at > 0) {
        memmove(s->own.p, s->own.p + s->in_at, left);
        s->own.n = left;
    }
    s->in = s->own.p;
    s->in_at = 0;
    s->in_n = left;
}

void session_keep_input(struct session *s) {
    list_remove(&s->reader_node);
    s->turn_read = 0;
    if (s->in_at == s->in_n) {
        s->in_at = s->in_n = 0;
        s->in = NULL;
        buf_clear(&s->own);
        if (s->own.cap > OWN_KEEP_BYTES) {
            buf_free(&s->own);
        }
    } else if (s->in != s->own.p) {
        own_input(s);
    }
    atomic_store_explicit(&s->client.in_bytes, s->own.cap, memory_order_relaxed);
    if (s->read_paused && !s->closing && !is_waiting(s) && list_empty(&s->ready_node)) {
        s->read_paused = false;
        stream_read_start(&s->stream);
    }
}

static void close_for_limit(struct session *s, const char *what, stat_t *counter) {
    STAT_ADD(*counter, 1);
    log_warning("client id=%llu addr=%s closed: %s", (unsigned long long)s->client.id,
                s->client.addr, what);
    session_close(s);
}

static struct session *of_stream(struct stream *stream) {
    return (struct session *)((char *)stream - offsetof(struct session, stream));
}

/* What may still be read in this turn. */
static size_t turn_room(const struct session *s) {
    size_t limit = s->need > s->in_n - s->in_at ? TURN_VALUE_BYTES : TURN_READ_BYTES;
    return limit > s->turn_read ? limit - s->turn_read : 0;
}

/* Room in the session's own buffer: for what the request is known to need, in slices. */
static void alloc_own(struct session *s, char **p, size_t *n) {
    if (s->in != s->own.p || s->in_at > s->own.n / 2) {
        own_input(s);
    }
    size_t want = s->need > s->own.n ? s->need - s->own.n : s->turn_read > 0 ? turn_room(s) : 0;
    want = want < OWN_ROOM_BYTES ? OWN_ROOM_BYTES : want;
    if (!buf_try_reserve(&s->own, want) && !buf_try_reserve(&s->own, OWN_ROOM_BYTES)) {
        *n = 0; /* the stream reports the end with an error */
        return;
    }
    s->in = s->own.p;
    *p = s->own.p + s->own.n;
    *n = s->own.cap - s->own.n;
    if (*n > turn_room(s)) {
        *n = turn_room(s);
    }
}

static void on_alloc(struct stream *stream, char **p, size_t *n) {
    struct session *s = of_stream(stream);
    struct worker *w = s->worker;
    size_t room = READ_AREA_BYTES - w->read_at;
    if (s->in_n > 0 || s->own.n > 0 || room < OWN_ROOM_BYTES) {
        alloc_own(s, p, n);
        return;
    }
    *p = w->read_area + w->read_at;
    *n = room < READ_CHUNK_BYTES ? room : READ_CHUNK_BYTES;
}

static void on_data(struct stream *stream, char *p, size_t n) {
    struct session *s = of_stream(stream);
    struct worker *w = s->worker;
    if (p >= w->read_area && p < w->read_area + READ_AREA_BYTES) {
        w->read_at += n;
        s->in = p;
        s->in_at = 0;
        s->in_n = n;
    } else {
        s->own.n += n;
        s->in_n = s->own.n;
    }
    s->turn_read += n;
    STAT_ADD(w->stats->total_net_input_bytes, n);
    STAT_ADD(w->stats->total_reads_processed, 1);
    atomic_store_explicit(&s->client.net_in,
                          atomic_load_explicit(&s->client.net_in, memory_order_relaxed) + n,
                          memory_order_relaxed);
    if (list_empty(&s->reader_node)) {
        list_push_back(&w->readers, &s->reader_node);
    }
    if (s->in_n - s->in_at > (size_t)w->conf->client_query_buffer_limit) {
        close_for_limit(s, "client-query-buffer-limit",
                        &w->stats->client_query_buffer_limit_disconnections);
        return;
    }
    if (turn_room(s) == 0 || is_waiting(s)) {
        s->read_paused = true;
        stream_read_stop(stream);
    }
    session_make_ready(s);
}

void session_feed(struct session *s, struct slice bytes, bool whole) {
    struct worker *w = s->worker;
    if (s->closing) {
        return;
    }
    if (s->in != s->own.p || s->in_at > s->own.n / 2) {
        own_input(s);
    }
    if (s->in_n - s->in_at + bytes.n > (size_t)w->conf->client_query_buffer_limit || !buf_try_reserve(&s->own, bytes.n)) {
        close_for_limit(s, "client-query-buffer-limit", &w->stats->client_query_buffer_limit_disconnections);
        return;
    }
    buf_put_slice(&s->own, bytes);
    s->in = s->own.p;
    s->in_n = s->own.n;
    if (list_empty(&s->reader_node)) {
        list_push_back(&w->readers, &s->reader_node);
    }
    if (whole) {
        session_make_ready(s);
    }
}

static void on_end(struct stream *stream, int err) {
    struct session *s = of_stream(stream);
    s->ended = true;
    if (err != 0 || (s->in_at == s->in_n && s->parked == NULL && s->dues.count == 0 && out_bytes(&s->out) == 0)) {
        session_close(s);
        return;
    }
    stream_read_stop(stream); /* half closed: what came before is still answered */
    client_flag(&s->client, CLIENT_CLOSE_AFTER_REPLY, true);
    session_want_flush(s);
}

/* ---- output ---- */

void session_out_ready(struct session *s) {
    struct worker *w = s->worker;
    if (s->out.buf.p == NULL && w->spare_out_count > 0) {
        s->out.buf = w->spare_out[--w->spare_out_count];
    }
}

static void give_back_buffer(struct worker *w, struct out *o) {
    buf_clear(&o->buf);
    if (w->spare_out_count < SPARE_OUT_BUFS && o->buf.cap <= SPARE_OUT_MAX_BYTES) {
        w->spare_out[w->spare_out_count++] = o->buf;
        o->buf = (struct buf){0};
    } else {
        buf_free(&o->buf);
    }
}

static bool over_output_limit(struct session *s) {
    const struct conf_output_limit *limit =
        &s->worker->conf->client_output_buffer_limit[CONF_CLASS_NORMAL];
    size_t held = s->stream.queued_bytes + (s->dues.count > 0 ? dues_bytes(s) : out_bytes(&s->out));
    atomic_store_explicit(&s->client.out_bytes, held, memory_order_relaxed);
    if (limit->hard_bytes > 0 && held > limit->hard_bytes) {
        return true;
    }
    if (limit->soft_bytes == 0 || held <= limit->soft_bytes) {
        s->out_soft_since_ms = 0;
        return false;
    }
    int64_t now = loop_now_ms(s->worker->loop);
    if (s->out_soft_since_ms == 0) {
        s->out_soft_since_ms = now;
    }
    return now - s->out_soft_since_ms > limit->soft_s * 1000;
}

static void count_written(struct session *s, size_t n) {
    STAT_ADD(s->worker->stats->total_net_output_bytes, n);
    STAT_ADD(s->worker->stats->total_writes_processed, 1);
    atomic_store_explicit(&s->client.net_out,
                          atomic_load_explicit(&s->client.net_out, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

void session_flush(struct session *s) {
    list_remove(&s->flush_node);
    if (s->closing) {
        return;
    }
    if (unlikely(s->channel != NULL)) { /* replies have gone their way one by one */
        if (client_is(&s->client, CLIENT_CLOSE_AFTER_REPLY) && s->parked == NULL) {
            session_close(s);
        }
        return;
    }
    struct out *o = likely(s->dues.count == 0) ? &s->out : dues_front(s);
    size_t total = out_bytes(o);
    if (total > 0 && s->stream.queued_bytes == 0) {
        ssize_t sent = send_out(&s->stream, o);
        if (unlikely(sent < 0)) {
            session_close(s);
            return;
        }
        count_written(s, (size_t)sent);
        if (likely((size_t)sent == total)) {
            give_back_buffer(s->worker, o);
            atomic_store_explicit(&s->client.out_bytes, 0, memory_order_relaxed);
        }
    } else if (total >= FLUSH_EARLY_BYTES) {
        send_later(&s->stream, o, 0); /* in pieces: one buffer that grows would be copied each time it doubles */
    }
    if (unlikely(s->stream.queued_bytes > 0 || s->dues.count > 0)) {
        if (over_output_limit(s)) {
            close_for_limit(s, "client-output-buffer-limit",
                            &s->worker->stats->client_output_buffer_limit_disconnections);
        }
        return;
    }
    if (unlikely(client_is(&s->client, CLIENT_CLOSE_AFTER_REPLY)) && s->parked == NULL &&
        (!s->ended || list_empty(&s->ready_node))) {
        session_close(s);
    }
}

static void on_drained(struct stream *stream) {
    struct session *s = of_stream(stream);
    atomic_store_explicit(&s->client.out_bytes, 0, memory_order_relaxed);
    session_flush(s);
}

/* ---- life ---- */

static void free_session(struct session *s) {
    buf_free(&s->own);
    out_free(&s->out);
    mem_free(s->client.name);
    mem_free(s->client.lib_name);
    mem_free(s->client.lib_ver);
    mem_free(s->client.user);
    mem_free(s);
}

static void on_closed(struct stream *stream) {
    free_session(of_stream(stream));
}

void sessions_sweep(struct worker *w) {
    for (struct list *n; (n = list_pop_front(&w->ended)) != NULL;) {
        free_session(LIST_ENTRY(n, struct session, client.node));
    }
}

/* Sessions that others see, CLIENT LIST among them: the streams' owners. */
static void leave_listed(struct session *s) {
    struct worker *w = s->worker;
    lock_acquire(&w->sessions_lock);
    list_remove(&s->client.node);
    w->session_count--;
    lock_release(&w->sessions_lock);
    atomic_fetch_sub_explicit(&w->server->host.clients, 1, memory_order_relaxed);
}

void session_close(struct session *s) {
    if (s->closing) {
        return;
    }
    s->closing = true;
    struct worker *w = s->worker;
    struct host *h = &w->server->host;
    list_remove(&s->ready_node);
    list_remove(&s->reader_node);
    list_remove(&s->flush_node);
    list_remove(&s->brake_node);
    if (s->parked != NULL) {
        struct parked *p = s->parked;
        s->parked = NULL;
        park_orphan(p);
    }
    dues_close(s);
    hold_close(s);
    forward_close(s);
    txn_forget(&s->client, h->l1);
    if (client_is(&s->client, CLIENT_MONITOR)) {
        atomic_fetch_sub_explicit(&h->monitors, 1, memory_order_relaxed);
    }
    if (likely(s->channel == NULL)) {
        leave_listed(s);
        stream_close(&s->stream);
        return;
    }
    s->channel->session = NULL;
    list_push_back(&w->ended, &s->client.node); /* the turn may still look at it */
    if (s->channel->closed != NULL) {
        s->channel->closed(s->channel);
    }
}

static const struct stream_events events = {.alloc = on_alloc,
                                            .data = on_data,
                                            .end = on_end,
                                            .drained = on_drained,
                                            .closed = on_closed};

static void refuse(int fd, const char *text) {
    if (write(fd, text, strlen(text)) < 0) {
        text = NULL; /* it will see the close */
    }
    close(fd);
}

static bool is_loopback(const struct stream *stream, bool is_unix) {
    char name[CLIENT_ADDR_MAX];
    stream_peer_name(stream, name, sizeof(name));
    return is_unix || strncmp(name, "127.", 4) == 0 || strncmp(name, "[::1]", 5) == 0;
}

static const char protected_text[] =
    "-DENIED Redis is running in protected mode because protected mode is enabled and no password "
    "is set for the default user. In this mode connections are only accepted from the loopback "
    "interface. Set a password (requirepass), bind to loopback only, or turn protected-mode off.\r\n";

static void start_client(struct session *s, uint32_t flags) {
    struct client *c = &s->client;
    struct worker *w = s->worker;
    c->id = atomic_fetch_add_explicit(&w->server->host.next_client_id, 1, memory_order_relaxed);
    c->created_ms = loop_now_ms(w->loop);
    c->loop_id = (int)w->id;
    c->authenticated = w->conf->requirepass[0] == '\0';
    c->user = mem_strdup("default");
    atomic_init(&c->flags, flags);
    atomic_init(&c->proto, 2);
    atomic_init(&c->last_ms, c->created_ms);
    atomic_init(&c->multi_count, -1);
    s->out.proto = 2;
}

static void fill_client(struct session *s, bool is_unix) {
    struct client *c = &s->client;
    start_client(s, is_unix ? CLIENT_UNIX : 0);
    c->fd = stream_fd(&s->stream);
    stream_peer_name(&s->stream, c->addr, sizeof(c->addr));
    stream_own_name(&s->stream, c->laddr, sizeof(c->laddr));
}

static void note_peak(struct host *h, int64_t clients) {
    int64_t peak = atomic_load_explicit(&h->clients_peak, memory_order_relaxed);
    while (clients > peak && !atomic_compare_exchange_weak_explicit(
                                 &h->clients_peak, &peak, clients, memory_order_relaxed,
                                 memory_order_relaxed)) {
    }
}

static struct session *make_session(struct worker *w) {
    struct session *s = mem_zalloc(sizeof(*s));
    s->worker = w;
    dues_init(&s->dues);
    list_init(&s->ready_node);
    list_init(&s->reader_node);
    list_init(&s->flush_node);
    list_init(&s->brake_node);
    list_init(&s->client.node);
    return s;
}

struct session *session_open_channel(struct worker *w, struct channel *ch, const char *addr) {
    struct session *s = make_session(w);
    struct client *c = &s->client;
    s->channel = ch;
    c->fd = -1;
    start_client(s, 0);
    c->authenticated = true; /* the peer has proved itself, and has asked its client for the password */
    snprintf(c->addr, sizeof(c->addr), "%s", addr);
    return s;
}

void session_open(struct worker *w, int fd, bool is_unix) {
    struct host *h = &w->server->host;
    int64_t clients = atomic_fetch_add_explicit(&h->clients, 1, memory_order_relaxed) + 1;
    if (clients > w->conf->maxclients) {
        atomic_fetch_sub_explicit(&h->clients, 1, memory_order_relaxed);
        STAT_ADD(w->stats->rejected_connections, 1);
        refuse(fd, "-ERR max number of clients reached\r\n");
        return;
    }
    struct session *s = make_session(w);
    int e = stream_adopt(&s->stream, w->loop, fd, is_unix, (int)w->conf->tcp_keepalive, &events);
    if (e != 0) {
        atomic_fetch_sub_explicit(&h->clients, 1, memory_order_relaxed);
        close(fd);
        mem_free(s);
        return;
    }
    fill_client(s, is_unix);
    lock_acquire(&w->sessions_lock);
    list_push_back(&w->sessions, &s->client.node);
    w->session_count++;
    lock_release(&w->sessions_lock);
    note_peak(h, clients);
    STAT_ADD(w->stats->total_connections_received, 1);
    if (w->conf->protected_mode && w->conf->requirepass[0] == '\0' &&
        !w->server->bound_by_choice && !is_loopback(&s->stream, is_unix)) {
        reply_error(&s->out, slice_make(protected_text + 1, sizeof(protected_text) - 4));
        client_flag(&s->client, CLIENT_CLOSE_AFTER_REPLY, true);
        session_want_flush(s);
        return;
    }
    stream_read_start(&s->stream);
}
