/* SPDX-License-Identifier: BSD-3-Clause */
/* test_driver_dns: names of this machine, and SRV records from a server made of a socket. */
#include "tests/unit/check.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cluster/dns_srv.h"
#include "src/base/log.h"
#include "tests/unit/cluster/driver_rig.h"

/* ---- a name server ---- */

struct server {
    int fd;
    struct sockaddr_in at;
    pthread_t thread;
    const unsigned char *records; /* appended to the question */
    size_t n;
    unsigned count, code; /* records, and the answer's code */
};

/* Answers one question after the other until the socket is shut. */
static void *serve(void *arg) {
    struct server *s = arg;
    unsigned char packet[2048];
    struct sockaddr_in from;
    socklen_t len = sizeof(from);
    ssize_t got;
    while ((got = recvfrom(s->fd, packet, 512, 0, (struct sockaddr *)&from, &len)) > 12) {
        size_t question = 12;
        while (packet[question] != 0) {
            question += packet[question] + 1U;
        }
        question += 5;
        packet[2] = 0x81;
        packet[3] = (unsigned char)(0x80 | s->code);
        packet[6] = (unsigned char)(s->count >> 8);
        packet[7] = (unsigned char)s->count;
        memset(packet + 8, 0, 4);
        memcpy(packet + question, s->records, s->n);
        sendto(s->fd, packet, question + s->n, 0, (struct sockaddr *)&from, len);
        len = sizeof(from);
    }
    return NULL;
}

static void server_start(struct server *s, const void *records, size_t n, unsigned count, unsigned code) {
    socklen_t len = sizeof(s->at);
    *s = (struct server){.records = records, .n = n, .count = count, .code = code};
    s->at = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    s->fd = socket(AF_INET, SOCK_DGRAM, 0);
    assert_int_equal(bind(s->fd, (struct sockaddr *)&s->at, len), 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&s->at, &len), 0);
    pthread_create(&s->thread, NULL, serve, s);
}

static void server_stop(struct server *s) {
    struct sockaddr_in to = s->at;
    sendto(s->fd, "", 1, 0, (struct sockaddr *)&to, sizeof(to)); /* shorter than a question: the end */
    pthread_join(s->thread, NULL);
    close(s->fd);
}

/* Name: a pointer to the question; type SRV, class IN, a TTL, then length, priority, weight, port and target. */
#define SRV(length, port_high, port_low) 0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 9, 0, length, 0, 0, 0, 0, port_high, port_low

static void srv_records_are_targets_and_ports(void **state) {
    (void)state;
    static const unsigned char records[] = {SRV(11, 0x18, 0xeb), 2, 'n', '1', 0xc0, 12, SRV(11, 0x18, 0xec), 2, 'n', '2', 0xc0, 12};
    struct server s;
    struct node_addr list[4];
    server_start(&s, records, sizeof(records), 2, 0);
    assert_int_equal(dns_srv_query("_strata._tcp.example.org", &s.at, list, 4), 2);
    assert_string_equal(list[0].host, "n1._strata._tcp.example.org");
    assert_int_equal(list[0].port, 6379);
    assert_int_equal(list[0].bus_port, 16379);
    assert_string_equal(list[1].host, "n2._strata._tcp.example.org");
    assert_int_equal(list[1].port, 6380);
    assert_int_equal(dns_srv_query("_strata._tcp.example.org", &s.at, list, 1), 1); /* no more than there is room for */
    server_stop(&s);
}

static void srv_records_of_no_use_are_left_out(void **state) {
    (void)state;
    static const unsigned char records[] = {
        SRV(11, 0, 0),       2, 'n', '1', 0xc0, 12,  /* port 0 */
        SRV(11, 0xff, 0xff), 2, 'n', '2', 0xc0, 12,  /* nothing 10000 above */
        SRV(11, 0x18, 0xeb), 2, '/', '3', 0xc0, 12,  /* no name of a host */
        0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 0, 0, 1, /* an A record */
        SRV(11, 0x18, 0xeb), 2, 'n', '4', 0xc0, 12};
    struct server s;
    struct node_addr list[8];
    server_start(&s, records, sizeof(records), 5, 0);
    assert_int_equal(dns_srv_query("_strata._tcp.example.org", &s.at, list, 8), 1);
    assert_string_equal(list[0].host, "n4._strata._tcp.example.org");
    server_stop(&s);
}

static void srv_answers_may_be_empty_or_broken_or_missing(void **state) {
    (void)state;
    static const unsigned char cut[] = {SRV(11, 0x18, 0xeb), 2, 'n'}, loop[] = {SRV(8, 0x18, 0xeb), 0xc0, 60};
    struct server s;
    struct node_addr list[4];
    server_start(&s, "", 0, 0, 3); /* no such name */
    assert_int_equal(dns_srv_query("_strata._tcp.example.org", &s.at, list, 4), 0);
    server_stop(&s);
    server_start(&s, "", 0, 0, 2); /* the server has failed */
    assert_int_equal(dns_srv_query("_strata._tcp.example.org", &s.at, list, 4), -1);
    server_stop(&s);
    server_start(&s, cut, sizeof(cut), 1, 0);
    assert_int_equal(dns_srv_query("_strata._tcp.example.org", &s.at, list, 4), -1);
    server_stop(&s);
    server_start(&s, loop, sizeof(loop), 1, 0); /* a name that points at itself */
    assert_int_equal(dns_srv_query("_strata._tcp.example.org", &s.at, list, 4), 0);
    server_stop(&s);
}

/* ---- the driver ---- */

static void dns_finds_every_address_of_a_name(void **state) {
    (void)state;
    static const char *const words[] = {"--cluster-driver", "dns", "--peers", "localhost:7001 10.9.8.7:7002", NULL};
    struct driver_rig rig;
    rig_start(&rig, 'a', 7001, words);
    pthread_mutex_lock(&rig.lock);
    while (rig.reports == 0) {
        pthread_cond_wait(&rig.changed, &rig.lock);
    }
    assert_true(rig.authoritative);
    assert_true(rig.has_self); /* an address of this machine, and this node's port */
    assert_int_equal(rig.self.port, 7001);
    bool loopback = false, other = false;
    for (unsigned i = 0; i < rig.n; i++) {
        loopback |= strcmp(rig.list[i].host, "127.0.0.1") == 0 || strcmp(rig.list[i].host, "::1") == 0;
        other |= strcmp(rig.list[i].host, "10.9.8.7") == 0 && rig.list[i].port == 7002;
    }
    assert_true(loopback && other);
    pthread_mutex_unlock(&rig.lock);
    rig_stop(&rig);
}

static void dns_says_nothing_twice(void **state) {
    (void)state;
    static const char *const words[] = {"--cluster-driver", "dns", "--peers", "10.9.8.7:7002 10.9.8.7:7003", "--cluster-dns-interval", "100ms", NULL};
    struct driver_rig rig, later;
    rig_start(&rig, 'a', 7001, words);
    assert_true(rig_waits_for(&rig, (int[]){7002, 7003}, 2));
    rig_start(&later, 'b', 7001, words); /* time for another round */
    assert_true(rig_waits_for(&later, (int[]){7002, 7003}, 2));
    rig_stop(&later);
    rig_stop(&rig);
    assert_int_equal(rig.reports, 1);
    assert_false(rig.has_self);
}

static void static_finds_itself_in_the_list(void **state) {
    (void)state;
    static const char *const words[] = {"--peers", "10.9.8.7:7002 localhost:7001@17001 localhost:7003", NULL};
    struct driver_rig rig;
    rig_start(&rig, 'a', 7001, words);
    pthread_mutex_lock(&rig.lock);
    while (!rig.has_self) {
        pthread_cond_wait(&rig.changed, &rig.lock);
    }
    assert_int_equal(rig.n, 3);
    assert_false(rig.authoritative);
    assert_string_equal(rig.self.host, "localhost");
    assert_int_equal(rig.self.port, 7001);
    pthread_mutex_unlock(&rig.lock);
    rig_stop(&rig);
}

static void drivers_are_in_the_order_of_their_words(void **state) {
    (void)state;
    static const char *const names[] = {"static", "dns", "etcd"};
    for (unsigned i = 0; i < 3; i++) {
        assert_string_equal(driver_kind(i)->name, names[i]);
    }
    assert_null(driver_kind(3));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(srv_records_are_targets_and_ports), cmocka_unit_test(srv_records_of_no_use_are_left_out),
                                       cmocka_unit_test(srv_answers_may_be_empty_or_broken_or_missing), cmocka_unit_test(dns_finds_every_address_of_a_name),
                                       cmocka_unit_test(dns_says_nothing_twice), cmocka_unit_test(static_finds_itself_in_the_list),
                                       cmocka_unit_test(drivers_are_in_the_order_of_their_words)};
    log_set_level(LOG_NOTHING);
    alarm(300);
    return cmocka_run_group_tests_name("driver_dns", tests, NULL, NULL);
}
