/* SPDX-License-Identifier: BSD-3-Clause */
/* test_agent: agents in one process, whose messages go from the one's hook to the other's ear: they find each other, notice failures, forget, leave. */
#include "tests/unit/check.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cluster/agent.h"
#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/conf/conf.h"

enum { AGENTS = 3, PATIENCE_S = 60 };

struct peer {
    char id[NODE_ID_HEX + 1];
    struct agent *agent;
    struct ring_store store;
    _Atomic bool deaf;
    _Atomic unsigned doubted;
};

static struct peer peers[AGENTS];

/* Agent i is at port 7001 + i. */
static void on_send(void *ctx, const char *id, const struct node_addr *to, struct slice bytes) {
    struct peer *from = ctx;
    unsigned target = to->port - 7001U;
    if (target < AGENTS && peers[target].agent != NULL && !peers[target].deaf && (id[0] == '\0' || strcmp(id, peers[target].id) == 0)) {
        agent_hear(peers[target].agent, from->id, "127.0.0.1", bytes);
    }
}

static void on_doubted(void *ctx) {
    ((struct peer *)ctx)->doubted++;
}

static struct conf_store *load(unsigned i, const char *const *more) {
    char port[16];
    snprintf(port, sizeof(port), "%u", 7001 + i);
    const char *argv[16] = {"",        "--cluster-enabled", "yes",    "--cluster-secret", "a secret of the tests", "--port", port, "--cluster-node-timeout",
                            "300ms"};
    int argc = 9;
    for (; *more != NULL; more++) {
        argv[argc++] = *more;
    }
    struct buf err = {0};
    struct conf_store *store = conf_load(argc, (char **)(uintptr_t)argv, NULL, &err);
    assert_non_null(store);
    buf_free(&err);
    return store;
}

static void create(unsigned i, const char *const *more) {
    struct conf_store *store = load(i, more);
    struct conf *conf = conf_store_current(store);
    memset(peers[i].id, 'a' + (int)i, NODE_ID_HEX);
    peers[i].deaf = false;
    ring_store_init(&peers[i].store);
    peers[i].agent = agent_create(conf, &(struct agent_past){.id = peers[i].id, .lot = -1}, &peers[i].store, &(struct agent_hooks){.ctx = &peers[i], .send = on_send, .doubted = on_doubted});
    conf_unref(conf);
    conf_store_free(&store);
}

static void create_all(const char *const *more) {
    for (unsigned i = 0; i < AGENTS; i++) {
        create(i, more);
    }
    for (unsigned i = 0; i < AGENTS; i++) {
        agent_start(peers[i].agent);
    }
}

static void destroy_all(void) {
    for (unsigned i = 0; i < AGENTS; i++) {
        peers[i].deaf = true;
    }
    for (unsigned i = 0; i < AGENTS; i++) {
        struct agent *gone = peers[i].agent;
        agent_destroy(&gone);
    }
    for (unsigned i = 0; i < AGENTS; i++) {
        peers[i].agent = NULL;
        ring_store_fini(&peers[i].store);
    }
}

/* Waits until agent i has a ring of n nodes in which node k, if it is not NULL, has that state. */
static void wait_for(unsigned i, unsigned n, const char *k, int state) {
    int64_t until_us = clock_mono_us() + PATIENCE_S * 1000000LL;
    for (bool is = false; !is;) {
        struct ring *ring = ring_store_current(&peers[i].store);
        unsigned at = k != NULL ? ring_find(ring, k) : 0;
        is = ring->n == n && (k == NULL || (at != RING_NONE && ring->nodes[at].state == state));
        ring_unref(ring);
        assert_true(is || clock_mono_us() < until_us);
        sched_yield();
    }
}

static const char *const by_list[] = {"--peers", "127.0.0.1:7001 127.0.0.1:7002 localhost:7003", NULL};

static void agents_have_a_ring_of_their_own_at_once(void **state) {
    (void)state;
    create(0, by_list);
    struct ring *ring = ring_store_current(&peers[0].store);
    assert_int_equal(ring->n, 1);
    assert_true(ring_owns(ring, 0));
    ring_unref(ring);
    agent_destroy(&peers[0].agent);
    ring_store_fini(&peers[0].store);
}

static void agents_find_each_other_by_a_list_and_themselves_in_it(void **state) {
    (void)state;
    create_all(by_list);
    for (unsigned i = 0; i < AGENTS; i++) {
        for (unsigned k = 0; k < AGENTS; k++) {
            wait_for(i, AGENTS, peers[k].id, NODE_ALIVE);
        }
    }
    struct agent_stats s;
    agent_stats_read(peers[0].agent, &s);
    assert_int_equal(s.dropped, 0);
    assert_true(s.rings > 0);
    destroy_all();
}

static void agents_meet_forget_and_leave(void **state) {
    (void)state;
    static const char *const nobody[] = {NULL};
    create_all(nobody);
    agent_meet(peers[0].agent, &(struct node_addr){"127.0.0.1", 7002, 17002});
    agent_meet(peers[0].agent, &(struct node_addr){"127.0.0.1", 7003, 17003});
    for (unsigned i = 0; i < AGENTS; i++) {
        wait_for(i, AGENTS, peers[2].id, NODE_ALIVE);
    }
    agent_leave(peers[1].agent);
    for (unsigned i = 0; i < AGENTS; i++) {
        wait_for(i, AGENTS, peers[1].id, NODE_LEAVING);
    }
    assert_false(agent_forget(peers[0].agent, peers[0].id));
    assert_false(agent_forget(peers[0].agent, "0123456789012345678901234567890123456789"));
    assert_true(agent_forget(peers[0].agent, peers[1].id));
    wait_for(0, 2, NULL, 0);
    wait_for(2, 2, NULL, 0);
    wait_for(1, 1, NULL, 0);
    agent_leave_for_good(peers[2].agent);
    wait_for(0, 1, NULL, 0);
    destroy_all();
}

static void agents_pass_over_a_deaf_one_and_it_hears_of_it(void **state) {
    (void)state;
    create_all(by_list);
    for (unsigned i = 0; i < AGENTS; i++) {
        wait_for(i, AGENTS, peers[2].id, NODE_ALIVE);
    }
    peers[2].deaf = true;
    wait_for(0, AGENTS, peers[2].id, NODE_DEAD);
    peers[2].deaf = false;
    wait_for(0, AGENTS, peers[2].id, NODE_ALIVE);
    while (peers[2].doubted == 0) {
        sched_yield();
    }
    for (int i = 0; i < 3; i++) {
        agent_failed(peers[0].agent, peers[1].id);
    }
    wait_for(0, AGENTS, peers[1].id, NODE_SUSPECT);
    wait_for(0, AGENTS, peers[1].id, NODE_ALIVE);
    destroy_all();
}

static void agents_drop_what_is_too_much(void **state) {
    (void)state;
    create(0, by_list); /* not started: nothing is taken from its mailbox */
    for (int i = 0; i < 10010; i++) {
        agent_failed(peers[0].agent, "0123456789012345678901234567890123456789");
    }
    struct agent_stats s;
    agent_stats_read(peers[0].agent, &s);
    assert_int_equal(s.dropped, 10);
    agent_destroy(&peers[0].agent);
    ring_store_fini(&peers[0].store);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(agents_have_a_ring_of_their_own_at_once),
                                       cmocka_unit_test(agents_find_each_other_by_a_list_and_themselves_in_it),
                                       cmocka_unit_test(agents_meet_forget_and_leave),
                                       cmocka_unit_test(agents_pass_over_a_deaf_one_and_it_hears_of_it),
                                       cmocka_unit_test(agents_drop_what_is_too_much)};
    log_set_level(LOG_NOTHING);
    clock_init();
    alarm(240);
    return cmocka_run_group_tests_name("agent", tests, NULL, NULL);
}
