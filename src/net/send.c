/* SPDX-License-Identifier: BSD-3-Clause */
/* send: replies onto streams. */
#include "src/net/send.h"

#include "src/base/check.h"
#include "src/base/mem.h"
#include "src/net/stream.h"
#include "src/resp/reply.h"

enum { TURN_WRITE_IOVECS = 64 };

/* The pieces of o, refs in their places, from byte `from` on; at most max of them. */
static int out_iovecs(const struct out *o, size_t from, struct iovec *iov, int max) {
    int n = 0;
    size_t at = 0, buf_at = 0;
    for (uint32_t r = 0; r <= o->ref_count && n < max; r++) {
        size_t stop = r < o->ref_count ? o->refs[r].at : o->buf.n;
        struct slice parts[2] = {slice_make(o->buf.p + buf_at, stop - buf_at),
                                 r < o->ref_count ? o->refs[r].bytes : slice_make("", 0)};
        for (int i = 0; i < 2 && n < max; i++) {
            size_t skip = from > at ? from - at : 0;
            if (parts[i].n > skip) {
                iov[n++] = (struct iovec){(void *)(uintptr_t)(parts[i].p + skip), parts[i].n - skip};
            }
            at += parts[i].n;
        }
        buf_at = stop;
    }
    return n;
}

/* What a queued tail keeps alive. */
static void release_out(void *owner) {
    struct out *o = owner;
    out_free(o);
    mem_free(o);
}

void send_later(struct stream *s, struct out *o, size_t sent) {
    struct out *rest = mem_alloc(sizeof(*rest));
    *rest = *o;
    *o = (struct out){.proto = rest->proto};
    int max = (int)rest->ref_count * 2 + 2;
    struct iovec *iov = mem_alloc((size_t)max * sizeof(*iov));
    int n = out_iovecs(rest, sent, iov, max);
    stream_queue(s, iov, n, rest, release_out);
    mem_free(iov);
}

ssize_t send_out(struct stream *s, struct out *o) {
    struct iovec iov[TURN_WRITE_IOVECS];
    size_t total = out_bytes(o);
    int n = 1;
    if (likely(o->ref_count == 0)) {
        iov[0] = (struct iovec){o->buf.p, o->buf.n};
    } else {
        n = out_iovecs(o, 0, iov, TURN_WRITE_IOVECS);
    }
    ssize_t sent = stream_try_writev(s, iov, n);
    if (unlikely(sent < 0)) {
        return sent;
    }
    if (likely((size_t)sent == total)) {
        out_truncate(o, 0, 0);
    } else {
        send_later(s, o, (size_t)sent);
    }
    return sent;
}
