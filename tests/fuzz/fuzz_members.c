/* SPDX-License-Identifier: BSD-3-Clause */
/* fuzz_members: any bytes as messages of the membership: none breaks it, and the ring it makes stays whole. The first byte of each message says who sent
 * it, the second how much time has passed; what a message that parses is written back as is what it was. */
#include <string.h>

#include "cluster/members.h"
#include "src/base/check.h"
#include "src/base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void take_message(void *ctx, const char *id, const struct node_addr *to, struct slice bytes) {
    struct members_message parsed;
    (void)ctx;
    (void)id;
    (void)to;
    CHECK(members_parse(bytes, &parsed));
}

static void take_ring(void *ctx, struct ring *ring) {
    (void)ctx;
    CHECK(ring->self < ring->n);
    ring_unref(ring);
}

static void take_event(void *ctx, enum members_event event, const char *id, const char *text) {
    (void)ctx;
    (void)event;
    CHECK(strlen(id) == NODE_ID_HEX && text != NULL);
}

/* Owners do not matter here, and cost most. */
static struct ring *build(void *ctx, const struct ring_node *nodes, unsigned n, unsigned run, uint64_t version, const struct ring *before, int64_t until_ms) {
    (void)ctx;
    (void)run;
    (void)before;
    (void)until_ms;
    size_t bytes = sizeof(struct ring) + n * sizeof(nodes[0]);
    struct ring *ring = mem_zalloc(bytes);
    ring->refs = 1;
    ring->n = n;
    ring->version = version;
    memcpy(ring->nodes, nodes, n * sizeof(nodes[0]));
    for (unsigned i = 0; i < n; i++) {
        CHECK(i == 0 || strcmp(nodes[i - 1].id, nodes[i].id) < 0);
        ring->self = nodes[i].self ? (uint16_t)i : ring->self;
    }
    return ring;
}

static uint16_t choose_lot(void *ctx, const struct ring_node *nodes, unsigned n, unsigned run, unsigned joiner) {
    (void)ctx;
    (void)run;
    CHECK(joiner < n && nodes[joiner].self);
    return (uint16_t)(n % RING_LOTS);
}

static void check_round_trip(struct slice bytes) {
    struct members_message m;
    struct member_record r;
    struct buf again = {0};
    if (members_parse(bytes, &m)) {
        members_put_head(&again, &m);
        for (unsigned i = 0; i < m.records; i++) {
            CHECK(members_next_record(&m, &r));
            members_put_record(&again, &r);
        }
        CHECK(slice_eq(buf_slice(&again), bytes));
    }
    buf_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct members_options o = {.addr = {.port = 6379, .bus_port = 16379}, .weight = 100, .incarnation = 1, .seed = 1, .timeout_ms = 1000,
                                .remove_after_ms = 2000, .window_ms = 1000};
    struct members_hooks hooks = {.send = take_message, .publish = take_ring, .build = build, .choose_lot = choose_lot, .event = take_event};
    int64_t now_ms = 1000;
    memset(o.id, 'a', NODE_ID_HEX);
    struct members *m = members_create(&o, &hooks, now_ms);
    while (size >= 4) {
        size_t n = (size_t)data[2] << 8 | data[3];
        n = n > size - 4 ? size - 4 : n;
        char from[NODE_ID_HEX + 1] = "";
        memset(from, "abcdef01"[data[0] % 8], NODE_ID_HEX);
        struct slice bytes = slice_make((const char *)data + 4, n);
        check_round_trip(bytes);
        members_receive(m, from, data[0] & 64 ? "10.0.0.1" : NULL, bytes, now_ms);
        if (data[0] & 128) {
            members_failed(m, from, now_ms);
        }
        now_ms += data[1] * 10;
        members_tick(m, now_ms);
        data += 4 + n;
        size -= 4 + n;
    }
    members_destroy(&m);
    return 0;
}
