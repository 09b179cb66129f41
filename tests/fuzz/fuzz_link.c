/* SPDX-License-Identifier: BSD-3-Clause */
/* fuzz_link: any bytes on the port for peers: from a stranger (first byte odd), or from a peer that has proved itself. What is handed on is
 * within the frame it is said to be of. */
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cluster/link.h"
#include "src/base/check.h"
#include "src/base/log.h"
#include "src/rt/loop.h"
#include "src/stats/stats.h"

enum { TURNS_MAX = 64 };

static struct loop *loop;
static struct stats *counters;
static struct links dialed, accepted;
static struct link *a, *b;
static bool up, down;
static size_t handed, turns;
static struct buf input;
static int raw;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void on_up(struct link *l) {
    up |= l == b;
}

static void on_frame(struct link *l, const struct frame *f, struct slice bytes, uint32_t at) {
    CHECK(l == b && frame_name(f->type) != NULL && bytes.n <= f->length - at);
    handed += bytes.n;
}

static void on_down(struct link *l, const char *why) {
    CHECK(why[0] != '\0');
    down |= l == b;
    a = l == a ? NULL : a;
    b = l == b ? NULL : b;
}

static const struct link_ops ops = {.up = on_up, .frame = on_frame, .down = on_down};

static bool turn(void *ctx) {
    (void)ctx;
    links_flush(&dialed);
    links_flush(&accepted);
    if (input.n > 0 && (up || a == NULL) && !down) {
        CHECK(send(raw, input.p, input.n, MSG_NOSIGNAL) == (ssize_t)input.n);
        buf_clear(&input);
        shutdown(raw, SHUT_WR);
    }
    if (down || ++turns > TURNS_MAX) {
        loop_stop(loop);
    }
    return true;
}

/* The loop turns by itself from then on. */
static void begin(struct loop *l, struct msg *msg) {
    (void)l;
    (void)msg;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static struct msg first = {.run = begin};
    static const struct loop_ops loop_ops = {.turn = turn};
    int fds[2];
    if (n < 2 || n > 64 << 10) {
        return 0;
    }
    if (counters == NULL) {
        log_set_level(LOG_NOTHING);
        counters = stats_create(1);
    }
    loop = loop_create(0, "fuzz", &loop_ops, NULL);
    links_init(&dialed, loop, counters, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    links_init(&accepted, loop, counters, "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb");
    dialed.secret = accepted.secret = "a word that both know";
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0);
    up = down = false;
    handed = turns = 0;
    raw = fds[0];
    a = data[0] & 1 ? NULL : link_open(&dialed, fds[0], true, &ops, NULL);
    b = link_open(&accepted, fds[1], false, &ops, NULL);
    buf_put(&input, data + 1, n - 1);
    loop_post(loop, &first);
    loop_run(loop);
    CHECK(handed <= n);
    links_close(&dialed);
    links_close(&accepted);
    if (data[0] & 1) {
        close(raw);
    }
    loop_destroy(&loop);
    buf_clear(&input);
    return 0;
}
