/* SPDX-License-Identifier: BSD-3-Clause */
/* dns_srv: SRV records, by the C library's resolver. */
#include "cluster/dns_srv.h"

#include <arpa/nameser.h>
#include <netdb.h>
#include <netinet/in.h>
#include <resolv.h>
#include <string.h>

#include "src/base/mem.h"

enum { ANSWER_MAX_BYTES = 65535, SRV_HEAD = 6 /* priority, weight, port */ };

static bool take_target(ns_msg *msg, const ns_rr *rr, struct node_addr *out) {
    const unsigned char *data = ns_rr_rdata(*rr);
    memset(out, 0, sizeof(*out));
    if (ns_rr_type(*rr) != ns_t_srv || ns_rr_rdlen(*rr) <= SRV_HEAD) {
        return false;
    }
    unsigned port = ns_get16(data + 4);
    int n = ns_name_uncompress(ns_msg_base(*msg), ns_msg_end(*msg), data + SRV_HEAD, out->host, sizeof(out->host));
    if (n < 0 || port == 0 || port > 65535 - NODE_BUS_OFFSET || !node_host_valid(slice_cstr(out->host))) {
        return false;
    }
    out->port = (uint16_t)port;
    out->bus_port = (uint16_t)(port + NODE_BUS_OFFSET);
    return true;
}

static int take_answer(const unsigned char *answer, int length, struct node_addr *out, int max) {
    ns_msg msg;
    int n = 0;
    if (ns_initparse(answer, length, &msg) != 0) {
        return -1;
    }
    for (int i = 0; i < ns_msg_count(msg, ns_s_an) && n < max; i++) {
        ns_rr rr;
        if (ns_parserr(&msg, ns_s_an, i, &rr) != 0) {
            return -1;
        }
        n += take_target(&msg, &rr, &out[n]);
    }
    return n;
}

int dns_srv_query(const char *name, const struct sockaddr_in *server, struct node_addr *out, int max) {
    struct __res_state resolver;
    memset(&resolver, 0, sizeof(resolver));
    if (res_ninit(&resolver) != 0) {
        return -1;
    }
    if (server != NULL) {
        resolver.nsaddr_list[0] = *server;
        resolver.nscount = 1;
        resolver.retrans = 1; /* a test's: near */
        resolver.retry = 2;
    }
    unsigned char *answer = mem_alloc(ANSWER_MAX_BYTES);
    int length = res_nquery(&resolver, name, ns_c_in, ns_t_srv, answer, ANSWER_MAX_BYTES);
    bool no_such = length < 0 && (resolver.res_h_errno == HOST_NOT_FOUND || resolver.res_h_errno == NO_DATA);
    int n = length >= 0 ? take_answer(answer, length, out, max) : no_such ? 0 : -1;
    mem_free(answer);
    res_nclose(&resolver);
    return n;
}
