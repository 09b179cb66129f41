/* SPDX-License-Identifier: BSD-3-Clause */
/* test_link: two ends of a connection, or one end and bytes that no peer would send. */
#include "tests/unit/run_loop.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cluster/link.h"
#include "src/base/mem.h"

#define ID_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ID_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

/* One end, and what its owner has been told. */
struct end {
    struct links links;
    struct stats *stats;
    struct link *link;
    bool up, down, roomy;
    char why[128];
    unsigned frames;
    struct frame last;
    struct buf bytes; /* of all frames */
};

struct fixture {
    struct run_loop run;
    struct end a, b; /* a dials */
    int raw;         /* instead of b */
};

static void on_up(struct link *l) {
    ((struct end *)l->owner)->up = true;
}

static void on_frame(struct link *l, const struct frame *f, struct slice bytes, uint32_t at) {
    struct end *e = l->owner;
    e->frames += at + bytes.n == f->length;
    e->last = *f;
    buf_put_slice(&e->bytes, bytes);
}

static void on_down(struct link *l, const char *why) {
    struct end *e = l->owner;
    assert_false(e->down); /* told once */
    e->down = true;
    snprintf(e->why, sizeof(e->why), "%s", why);
}

static void on_roomy(struct link *l) {
    ((struct end *)l->owner)->roomy = true;
}

static const struct link_ops ops = {.up = on_up, .frame = on_frame, .down = on_down, .roomy = on_roomy};

static bool turn(void *ctx) {
    struct fixture *t = ctx;
    links_flush(&t->a.links);
    links_flush(&t->b.links);
    return run_loop_turn(&t->run);
}

static void prepare(struct fixture *t) {
    static const struct loop_ops loop_ops = {.turn = turn};
    *t = (struct fixture){.raw = -1};
    signal(SIGPIPE, SIG_IGN);
    t->run.loop = loop_create(0, "test", &loop_ops, t);
    t->run.tick = timer_create_on(t->run.loop, run_loop_tick, NULL);
    timer_start(t->run.tick, 5, 5);
    t->a.stats = stats_create(1);
    t->b.stats = stats_create(1);
    links_init(&t->a.links, t->run.loop, t->a.stats, ID_A);
    links_init(&t->b.links, t->run.loop, t->b.stats, ID_B);
    t->a.links.secret = t->b.links.secret = "word";
}

static void join(struct fixture *t) {
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    t->a.link = link_open(&t->a.links, fds[0], true, &ops, &t->a);
    t->b.link = link_open(&t->b.links, fds[1], false, &ops, &t->b);
}

/* This end against bytes of the test's own. */
static void face(struct fixture *t, struct end *e, bool dialed) {
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    e->link = link_open(&e->links, fds[0], dialed, &ops, e);
    t->raw = fds[1];
}

static void finish(struct fixture *t) {
    links_close(&t->a.links);
    links_close(&t->b.links);
    if (t->raw >= 0) {
        close(t->raw);
    }
    run_loop_close(&t->run);
    assert_int_equal(t->a.links.count + t->b.links.count, 0);
    buf_free(&t->a.bytes);
    buf_free(&t->b.bytes);
    stats_destroy(&t->a.stats);
    stats_destroy(&t->b.stats);
}

static bool both_up(void *ctx) {
    struct fixture *t = ctx;
    return t->a.up && t->b.up;
}

static void link_proves_both_ends(void **state) {
    struct fixture t;
    (void)state;
    prepare(&t);
    t.a.links.ring = 7;
    t.b.links.ring = 9;
    join(&t);
    assert_true(run_loop_until(&t.run, both_up, &t));
    assert_string_equal(t.a.link->peer, ID_B);
    assert_string_equal(t.b.link->peer, ID_A);
    assert_int_equal(t.a.link->peer_ring, 9);
    assert_int_equal(t.b.link->peer_ring, 7);
    assert_false(t.a.down || t.b.down);
    finish(&t);
}

static void refused(const char *secret_a, const char *secret_b) {
    struct fixture t;
    prepare(&t);
    t.a.links.secret = secret_a;
    t.b.links.secret = secret_b;
    join(&t);
    assert_true(run_loop_flag_set(&t.run, &t.a.down));
    assert_true(run_loop_flag_set(&t.run, &t.b.down));
    assert_false(t.a.up || t.b.up);
    assert_non_null(strstr(t.a.why, "cluster-secret"));
    assert_int_equal(STAT_GET(t.a.stats->peer_handshakes_refused), 1);
    finish(&t);
}

static void link_refuses_another_secret(void **state) {
    (void)state;
    refused("word", "sword");
    refused("", "word");
    refused("word", "");
}

/* Whose rings differ must not meet: each would send the other's keys elsewhere. */
static void link_refuses_another_run_of_slots(void **state) {
    struct fixture t;
    (void)state;
    prepare(&t);
    t.a.links.slot_run = 4;
    join(&t);
    assert_true(run_loop_flag_set(&t.run, &t.a.down));
    assert_true(run_loop_flag_set(&t.run, &t.b.down));
    assert_false(t.a.up || t.b.up);
    assert_string_equal(t.a.why, "it refuses us: its cluster-slot-run is 16, this node's is 1: they would not agree who owns what");
    finish(&t);
}

/* The one who dials is the one who lies: it takes the other's proof for granted, and sends one of its own making. */
static void link_refuses_a_false_proof(void **state) {
    struct fixture t;
    (void)state;
    prepare(&t);
    face(&t, &t.b, false);
    struct buf b = {0};
    char rest[4 + LINK_NONCE_BYTES] = {FRAME_PROTOCOL}, mac[32] = {0};
    frame_put(&b, &(struct frame){.type = FRAME_HELLO, .length = 4 + LINK_NONCE_BYTES + LINK_ID_BYTES});
    buf_put(&b, rest, sizeof(rest));
    buf_puts(&b, ID_A);
    frame_put(&b, &(struct frame){.type = FRAME_PROOF, .length = sizeof(mac)});
    buf_put(&b, mac, sizeof(mac));
    assert_int_equal(write(t.raw, b.p, b.n), b.n);
    buf_free(&b);
    assert_true(run_loop_flag_set(&t.run, &t.b.down));
    assert_false(t.b.up);
    assert_int_equal(STAT_GET(t.b.stats->peer_handshakes_refused), 1);
    finish(&t);
}

static void link_refuses_another_version(void **state) {
    struct fixture t;
    char head[FRAME_HEAD], text[256] = "", want[256];
    struct frame f;
    (void)state;
    prepare(&t);
    face(&t, &t.b, false);
    struct buf b = {0};
    frame_put(&b, &(struct frame){.type = FRAME_HELLO, .length = 4});
    buf_put(&b, "\x63\0\0\0", 4);
    assert_int_equal(write(t.raw, b.p, b.n), b.n);
    buf_free(&b);
    assert_true(run_loop_flag_set(&t.run, &t.b.down));
    assert_int_equal(read(t.raw, head, sizeof(head)), FRAME_HEAD);
    assert_true(frame_get(head, &f));
    assert_int_equal(f.type, FRAME_REFUSED);
    assert_int_equal(read(t.raw, text, sizeof(text) - 1), f.length);
    snprintf(want, sizeof(want), "it speaks version 99 of the peer protocol, this node speaks %d", FRAME_PROTOCOL);
    assert_string_equal(text, want);
    finish(&t);
}

static void link_closes_on_garbage(void **state) {
    static const char *const texts[] = {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n",
                                        "St\xff\0\0\0\0\0..................", "St\x10\0\1\0\0\0................", "St\x01\0\0\0\1\0................"};
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        struct fixture t;
        prepare(&t);
        face(&t, &t.b, false);
        assert_int_equal(write(t.raw, texts[i], 24), 24);
        assert_true(run_loop_flag_set(&t.run, &t.b.down));
        assert_int_equal(STAT_GET(t.b.stats->peer_protocol_errors), 1);
        finish(&t);
    }
}

static bool b_has_it_all(void *ctx) {
    return ((struct fixture *)ctx)->b.bytes.n == 3000000;
}

static void link_hands_on_long_frames_in_parts(void **state) {
    struct fixture t;
    (void)state;
    prepare(&t);
    join(&t);
    assert_true(run_loop_until(&t.run, both_up, &t));
    link_frame(t.a.link, (struct frame){.type = FRAME_CALL, .length = 3000000, .channel = 5, .tag = 6});
    for (int i = 0; i < 3000000; i++) {
        buf_putc(&t.a.link->out.buf, (char)(i * 7 % 251));
    }
    assert_true(run_loop_until(&t.run, b_has_it_all, &t));
    assert_int_equal(t.b.frames, 1);
    assert_int_equal(t.b.last.tag, 6);
    for (int i = 0; i < 3000000; i++) {
        assert_int_equal((unsigned char)t.b.bytes.p[i], i * 7 % 251);
    }
    assert_true(t.b.link->in.cap < 1 << 20); /* it was not collected */
    finish(&t);
}

static void link_says_when_it_is_full_and_when_no_more(void **state) {
    struct fixture t;
    (void)state;
    prepare(&t);
    t.a.links.max_unsent_bytes = 1 << 20;
    join(&t);
    assert_true(run_loop_until(&t.run, both_up, &t));
    link_pause(t.b.link, true);
    assert_false(link_is_full(t.a.link));
    link_frame(t.a.link, (struct frame){.type = FRAME_CALL, .length = 3000000});
    memset(buf_reserve(&t.a.link->out.buf, 3000000), 'x', 3000000);
    buf_commit(&t.a.link->out.buf, 3000000);
    assert_true(link_is_full(t.a.link));
    run_loop_for(&t.run, 20);
    assert_false(t.a.roomy);
    link_pause(t.b.link, false);
    assert_true(run_loop_flag_set(&t.run, &t.a.roomy));
    assert_false(link_is_full(t.a.link));
    assert_true(run_loop_until(&t.run, b_has_it_all, &t));
    finish(&t);
}

static bool a_gave_up(void *ctx) {
    struct fixture *t = ctx;
    links_tick(&t->a.links);
    links_tick(&t->b.links);
    return t->a.down;
}

static void link_gives_up_a_silent_peer(void **state) {
    struct fixture t;
    (void)state;
    prepare(&t);
    t.a.links.silence_ms = 40;
    join(&t);
    assert_true(run_loop_until(&t.run, both_up, &t));
    link_pause(t.b.link, true); /* hung: connected, and mute */
    assert_true(run_loop_until(&t.run, a_gave_up, &t));
    assert_string_equal(t.a.why, "no answer");
    assert_int_equal(STAT_GET(t.a.stats->peer_silences), 1);
    finish(&t);
}

static bool two_pings(void *ctx) {
    struct fixture *t = ctx;
    a_gave_up(ctx);
    return STAT_GET(t->a.stats->peer_bytes_received) >= 24 + 108 + 2 * 24;
}

static void link_keeps_an_idle_peer_that_answers(void **state) {
    struct fixture t;
    (void)state;
    prepare(&t);
    t.a.links.silence_ms = 2000;
    join(&t);
    assert_true(run_loop_until(&t.run, both_up, &t));
    assert_true(run_loop_until(&t.run, two_pings, &t));
    assert_false(t.a.down);
    finish(&t);
}

static void link_gives_up_half_a_handshake(void **state) {
    struct fixture t;
    (void)state;
    prepare(&t);
    t.a.links.silence_ms = 30;
    face(&t, &t.a, true);
    assert_true(run_loop_until(&t.run, a_gave_up, &t));
    assert_string_equal(t.a.why, "the handshake took too long");
    finish(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(link_proves_both_ends),
        cmocka_unit_test(link_refuses_another_secret),
        cmocka_unit_test(link_refuses_a_false_proof),
        cmocka_unit_test(link_refuses_another_version), cmocka_unit_test(link_refuses_another_run_of_slots),
        cmocka_unit_test(link_closes_on_garbage),
        cmocka_unit_test(link_hands_on_long_frames_in_parts),
        cmocka_unit_test(link_says_when_it_is_full_and_when_no_more),
        cmocka_unit_test(link_gives_up_a_silent_peer),
        cmocka_unit_test(link_keeps_an_idle_peer_that_answers),
        cmocka_unit_test(link_gives_up_half_a_handshake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
