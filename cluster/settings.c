/* SPDX-License-Identifier: BSD-3-Clause */
/* settings: the directives of the section "Cluster" that must go together. */
#include "cluster/settings.h"

#include <string.h>

#include "cluster/node_addr.h"
#include "src/base/buf.h"
#include "src/base/mem.h"
#include "src/base/sha256.h"
#include "src/conf/conf.h"

int cluster_bus_port(const struct conf *c) {
    return (int)(c->cluster_port > 0 ? c->cluster_port : c->port + NODE_BUS_OFFSET);
}

static bool check_ports(const struct conf *c, const char **name, struct buf *why) {
    if (c->port == 0) {
        *name = "port";
        buf_puts(why, "0 with cluster-enabled yes; allowed: 1 to 65535");
        return false;
    }
    *name = "cluster-port";
    if (cluster_bus_port(c) > 65535 || cluster_bus_port(c) == c->port) {
        buf_printf(why, "%d cannot be the port for peers; allowed: 1 to 65535, another one than port", cluster_bus_port(c));
        return false;
    }
    return true;
}

static bool check_secret(const struct conf *c, const char **name, struct buf *why) {
    *name = "cluster-secret";
    if (strlen(c->cluster_secret) >= CLUSTER_SECRET_MIN) {
        return true;
    }
    buf_printf(why, "peers prove themselves with it, so that it cannot be %s; allowed: %d characters or more",
               c->cluster_secret[0] == '\0' ? "empty" : "so short", CLUSTER_SECRET_MIN);
    return false;
}

static bool check_announced(const struct conf *c, const char **name, struct buf *why) {
    struct node_addr addr;
    *name = "cluster-announce-addr";
    return c->cluster_announce_addr[0] == '\0' || node_addr_parse(slice_cstr(c->cluster_announce_addr), &addr, why);
}

static bool is_srv(struct slice word) {
    return word.n > 4 && memcmp(word.p, "srv:", 4) == 0 && node_host_valid(slice_make(word.p + 4, word.n - 4));
}

/* Every word: an address, or with the driver that knows them, the name of SRV records. */
static bool check_peers(const struct conf *c, const char **name, struct buf *why) {
    int n = 0;
    *name = "peers";
    for (const char *p = c->peers + strspn(c->peers, " \t"); *p != '\0'; p += strspn(p, " \t"), n++) {
        struct slice word = slice_make(p, strcspn(p, " \t"));
        struct node_addr addr;
        struct buf reason = {0};
        bool ok = (c->cluster_driver == CLUSTER_DNS && is_srv(word)) || node_addr_parse(word, &addr, &reason);
        if (!ok || n == CLUSTER_MAX_PEERS) {
            if (ok) {
                buf_printf(&reason, "one too many; allowed: %d", CLUSTER_MAX_PEERS);
            }
            buf_printf(why, "%.*s: %.*s", SLICE_ARG(word), SLICE_ARG(buf_slice(&reason)));
            buf_free(&reason);
            return false;
        }
        p += word.n;
    }
    if (n == 0 && c->cluster_driver == CLUSTER_DNS) {
        buf_puts(why, "cluster-driver dns has no name to look up; allowed: name:port, srv:_name._tcp.domain");
        return false;
    }
    return true;
}

static bool check_etcd(const struct conf *c, const char **name, struct buf *why) {
    *name = "cluster-etcd";
    for (const char *p = c->cluster_etcd + strspn(c->cluster_etcd, " "); *p != '\0'; p += strspn(p, " ")) {
        size_t n = strcspn(p, " ");
        if (strncmp(p, "http://", 7) != 0 && strncmp(p, "https://", 8) != 0) {
            buf_printf(why, "%.*s: not a URL of etcd; allowed: http://host:port, https://host:port", (int)n, p);
            return false;
        }
        p += n;
    }
    if (c->cluster_etcd[strspn(c->cluster_etcd, " ")] == '\0') {
        buf_puts(why, "no URL of etcd; allowed: http://host:port, https://host:port");
        return false;
    }
    *name = "cluster-etcd-prefix";
    if (c->cluster_etcd_prefix[0] == '\0') {
        buf_puts(why, "empty, which is every key of etcd; allowed: text");
        return false;
    }
    *name = "cluster-etcd-user";
    if (c->cluster_etcd_user[0] != '\0' && strchr(c->cluster_etcd_user, ':') == NULL) {
        buf_puts(why, "no colon; allowed: name:password, or nothing");
        return false;
    }
    return true;
}

static uint32_t digest(const struct buf *b) {
    unsigned char hash[SHA256_BYTES];
    sha256(buf_slice(b), hash);
    return (uint32_t)hash[0] << 24 | (uint32_t)hash[1] << 16 | (uint32_t)hash[2] << 8 | hash[3];
}

uint64_t cluster_settings_digest(const struct conf *c) {
    struct buf policies = {0}, directives = {0};
    for (const char *p = c->policy; p != NULL && *p != '\0'; p++) {
        bool blank = *p == ' ' || *p == '\t', again = policies.n == 0 || policies.p[policies.n - 1] == ' ' || policies.p[policies.n - 1] == '\n';
        if (!blank) {
            buf_putc(&policies, *p);
        } else if (!again) {
            buf_putc(&policies, ' ');
        }
    }
    buf_printf(&directives, "%lld %lld %lld", (long long)c->databases, (long long)c->handover_window, (long long)c->gutter_ttl);
    uint64_t v = (uint64_t)digest(&directives) << 32 | digest(&policies);
    buf_free(&policies);
    buf_free(&directives);
    return v;
}

bool cluster_settings_check(const struct conf *c, const char **name, struct buf *why) {
    return !c->cluster_enabled || (check_ports(c, name, why) && check_secret(c, name, why) && check_announced(c, name, why) &&
                                   check_peers(c, name, why) && (c->cluster_driver != CLUSTER_ETCD || check_etcd(c, name, why)));
}
