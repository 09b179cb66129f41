/* SPDX-License-Identifier: BSD-3-Clause */
/* test_driver_etcd: against a real etcd: keys come and go with their nodes, leases run out, etcd is killed and comes back, users are asked for. */
#include "tests/unit/check.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/base/log.h"
#include "tests/unit/cluster/driver_rig.h"

static char dir[128], url[64], peer_url[64];
static pid_t etcd;

static int free_port(void) {
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(in);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&in, n), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &n), 0);
    close(fd);
    return ntohs(in.sin_port);
}

static void etcd_start(void) {
    char initial[80];
    snprintf(initial, sizeof(initial), "t=%s", peer_url);
    etcd = fork();
    if (etcd == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        int log = open("/dev/null", O_WRONLY);
        dup2(log, 1);
        dup2(log, 2);
        execlp("etcd", "etcd", "--name", "t", "--data-dir", dir, "--listen-client-urls", url, "--advertise-client-urls", url, "--listen-peer-urls",
               peer_url, "--initial-advertise-peer-urls", peer_url, "--initial-cluster", initial, "--unsafe-no-fsync", (char *)NULL);
        _exit(127);
    }
}

static void etcd_kill(int signum) {
    kill(etcd, signum);
    waitpid(etcd, NULL, 0);
}

/* Runs a client of etcd until it succeeds, as it does when etcd is up. */
static void etcdctl(const char *arguments) {
    char command[512];
    snprintf(command, sizeof(command), "ETCDCTL_API=3 timeout 20 etcdctl --endpoints=%s %s >/dev/null 2>&1", url, arguments);
    for (int tries = 0; tries < 10; tries++) {
        if (system(command) == 0) {
            return;
        }
    }
    fail_msg("etcdctl %s", arguments);
}

static const char *const *directives(const char *ttl, const char *user) {
    static const char *words[16];
    words[0] = "--cluster-driver";
    words[1] = "etcd";
    words[2] = "--cluster-etcd";
    words[3] = url;
    words[4] = "--cluster-etcd-ttl";
    words[5] = ttl;
    words[6] = user != NULL ? "--cluster-etcd-user" : NULL;
    words[7] = user;
    return words;
}

static void etcd_lists_the_nodes_that_are_there(void **state) {
    (void)state;
    struct driver_rig a, b, c;
    rig_start(&a, 'a', 7001, directives("5", NULL));
    assert_true(rig_waits_for(&a, (int[]){7001}, 1));
    assert_true(a.authoritative && a.has_self);
    assert_string_equal(a.self.host, "127.0.0.1"); /* that by which it reaches etcd */
    assert_int_equal(a.self.bus_port, 17001);
    rig_start(&b, 'b', 7002, directives("5", NULL));
    rig_start(&c, 'c', 7003, directives("5", NULL));
    assert_true(rig_waits_for(&a, (int[]){7001, 7002, 7003}, 3));
    assert_true(rig_waits_for(&b, (int[]){7001, 7002, 7003}, 3));
    rig_stop(&b); /* gives up its lease */
    assert_true(rig_waits_for(&a, (int[]){7001, 7003}, 2));
    assert_true(rig_waits_for(&c, (int[]){7001, 7003}, 2));
    rig_stop(&a);
    rig_stop(&c);
}

static void etcd_drops_a_node_whose_lease_runs_out(void **state) {
    (void)state;
    struct driver_rig a;
    rig_start(&a, 'a', 7001, directives("2", NULL));
    assert_true(rig_waits_for(&a, (int[]){7001}, 1));
    /* a node that puts its key on a lease and dies */
    etcdctl("put --lease=$(ETCDCTL_API=3 etcdctl --endpoints=$E lease grant 2 | cut -d' ' -f2) /strata/dead 127.0.0.1:7009");
    assert_true(rig_waits_for(&a, (int[]){7001, 7009}, 2));
    assert_true(rig_waits_for(&a, (int[]){7001}, 1));
    rig_stop(&a);
}

static void etcd_passes_over_keys_that_are_no_nodes(void **state) {
    (void)state;
    struct driver_rig a;
    rig_start(&a, 'a', 7001, directives("5", NULL));
    etcdctl("put /strata/x 'not an address'");
    etcdctl("put /strata/y 10.0.0.1:7005");
    etcdctl("put /other/z 10.0.0.1:7006");
    assert_true(rig_waits_for(&a, (int[]){7001, 7005}, 2));
    etcdctl("del /strata/y");
    assert_true(rig_waits_for(&a, (int[]){7001}, 1));
    etcdctl("del --prefix /strata/"); /* its own key, too */
    assert_true(rig_waits_for(&a, (int[]){7001}, 1));
    etcdctl("del --prefix /other/");
    rig_stop(&a);
}

static void etcd_may_go_and_come_back(void **state) {
    (void)state;
    struct driver_rig a, b;
    rig_start(&a, 'a', 7001, directives("5", NULL));
    rig_start(&b, 'b', 7002, directives("5", NULL));
    assert_true(rig_waits_for(&a, (int[]){7001, 7002}, 2));
    etcd_kill(SIGKILL);
    etcd_start();
    etcdctl("endpoint health");
    etcdctl("put /strata/new 10.0.0.1:7007"); /* seen only by a watch of the new session, or its list */
    assert_true(rig_waits_for(&a, (int[]){7001, 7002, 7007}, 3));
    assert_true(rig_waits_for(&b, (int[]){7001, 7002, 7007}, 3));
    etcdctl("del /strata/new");
    assert_true(STAT_GET(a.conns.opened) >= 4); /* what is asked and the watch, before and after */
    assert_true(STAT_GET(a.conns.reused) > 0);
    rig_stop(&a);
    rig_stop(&b);
}

static void etcd_is_watched_past_a_compaction(void **state) {
    (void)state;
    struct driver_rig a;
    rig_start(&a, 'a', 7001, directives("5", NULL));
    assert_true(rig_waits_for(&a, (int[]){7001}, 1));
    for (int i = 0; i < 5; i++) {
        etcdctl("put /strata/k 10.0.0.1:7010");
    }
    etcdctl("compact $(ETCDCTL_API=3 etcdctl --endpoints=$E endpoint status -w json | sed 's/.*\"revision\":\\([0-9]*\\).*/\\1/')");
    etcd_kill(SIGKILL); /* the watch must begin anew, and what it had seen last is gone */
    etcd_start();
    etcdctl("put /strata/k 10.0.0.1:7011");
    assert_true(rig_waits_for(&a, (int[]){7001, 7011}, 2));
    etcdctl("del /strata/k");
    assert_true(rig_waits_for(&a, (int[]){7001}, 1));
    rig_stop(&a);
}

static void etcd_asks_for_a_user(void **state) {
    (void)state;
    struct driver_rig wrong, right;
    etcdctl("user add root:s3cret:with:colons");
    etcdctl("user grant-role root root");
    etcdctl("auth enable");
    rig_start(&wrong, 'b', 7002, directives("5", "root:wrong"));
    rig_start(&right, 'a', 7001, directives("5", "root:s3cret:with:colons"));
    assert_true(rig_waits_for(&right, (int[]){7001}, 1));
    rig_stop(&right);
    rig_stop(&wrong);
    assert_int_equal(wrong.reports, 0);
}

static int set_up(void **state) {
    (void)state;
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof(dir), "%s/etcd.XXXXXX", tmp != NULL ? tmp : "/tmp");
    assert_non_null(mkdtemp(dir));
    snprintf(url, sizeof(url), "http://127.0.0.1:%d", free_port());
    snprintf(peer_url, sizeof(peer_url), "http://127.0.0.1:%d", free_port());
    setenv("E", url, 1);
    etcd_start();
    etcdctl("endpoint health");
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    char command[256];
    etcd_kill(SIGKILL);
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    return system(command);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(etcd_lists_the_nodes_that_are_there), cmocka_unit_test(etcd_drops_a_node_whose_lease_runs_out),
                                       cmocka_unit_test(etcd_passes_over_keys_that_are_no_nodes), cmocka_unit_test(etcd_may_go_and_come_back),
                                       cmocka_unit_test(etcd_is_watched_past_a_compaction), cmocka_unit_test(etcd_asks_for_a_user)};
    if (system("etcd --version >/dev/null 2>&1 && etcdctl version >/dev/null 2>&1") != 0) {
        puts("skip etcd: not installed");
        return 0;
    }
    log_set_level(LOG_NOTHING);
    alarm(600);
    return cmocka_run_group_tests_name("driver_etcd", tests, set_up, tear_down);
}
