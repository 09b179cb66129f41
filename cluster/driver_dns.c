/* SPDX-License-Identifier: BSD-3-Clause */
/* driver_dns: the names in `peers`, looked up again every cluster-dns-interval: every address of a name is a node, as a headless service of Kubernetes
 * gives, and every target of SRV records. A name that cannot be looked up now keeps what it had. */
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>

#include "cluster/dns_srv.h"
#include "cluster/driver.h"
#include "cluster/settings.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/conf/conf.h"

/* One word of `peers`. */
struct name {
    struct node_addr addr; /* host: the name */
    bool srv, failed;      /* failed: last time */
    bool known;            /* it has been answered, ever */
    struct node_addr *list;
    unsigned n;
};

struct dns {
    struct name *names;
    unsigned name_count;
    struct node_addr *list; /* all together, as reported last */
    unsigned n;
    bool reported;
};

static void add(struct node_addr *list, unsigned *n, const struct node_addr *a) {
    for (unsigned i = 0; i < *n; i++) {
        if (node_addr_equal(&list[i], a)) {
            return;
        }
    }
    if (*n < CLUSTER_MAX_PEERS) {
        list[(*n)++] = *a;
    }
}

/* ---- looking up ---- */

/* The number of addresses, or -1: no answer. */
static int look_up_addresses(const struct name *name, struct node_addr *out) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    unsigned n = 0;
    int code = getaddrinfo(name->addr.host, NULL, &hints, &found);
    if (code != 0) {
        return code == EAI_NONAME || code == EAI_NODATA ? 0 : -1;
    }
    for (const struct addrinfo *i = found; i != NULL; i = i->ai_next) {
        struct node_addr a = name->addr;
        memset(a.host, 0, sizeof(a.host));
        if (getnameinfo(i->ai_addr, i->ai_addrlen, a.host, sizeof(a.host), NULL, 0, NI_NUMERICHOST) == 0) {
            add(out, &n, &a);
        }
    }
    freeaddrinfo(found);
    return (int)n;
}

static void look_up(struct name *name) {
    struct node_addr *found = mem_alloc(CLUSTER_MAX_PEERS * sizeof(*found));
    int n = name->srv ? dns_srv_query(name->addr.host, NULL, found, CLUSTER_MAX_PEERS) : look_up_addresses(name, found);
    if (n < 0 && !name->failed) {
        log_warning("cluster: %s cannot be looked up; the nodes found before stay", name->addr.host);
    } else if (n >= 0 && name->failed) {
        log_notice("cluster: %s is looked up again", name->addr.host);
    }
    name->failed = n < 0;
    if (n < 0) {
        mem_free(found);
        return;
    }
    mem_free(name->list);
    name->list = found;
    name->n = (unsigned)n;
    name->known = true;
}

/* ---- reporting ---- */

/* True when it is another list than the last. */
static bool gather(struct dns *dns) {
    struct node_addr *all = mem_alloc(CLUSTER_MAX_PEERS * sizeof(*all));
    unsigned n = 0;
    for (unsigned i = 0; i < dns->name_count; i++) {
        for (unsigned k = 0; k < dns->names[i].n; k++) {
            add(all, &n, &dns->names[i].list[k]);
        }
    }
    bool same = dns->reported && n == dns->n;
    for (unsigned i = 0; i < n && same; i++) { /* resolvers turn the order around */
        unsigned before = n;
        add(all, &before, &dns->list[i]);
        same = before == n;
    }
    mem_free(dns->list);
    dns->list = all;
    dns->n = n;
    return !same;
}

static void report(struct driver *d, struct dns *dns) {
    bool all_known = true;
    for (unsigned i = 0; i < dns->name_count; i++) {
        all_known &= dns->names[i].known;
    }
    if (gather(dns) && (all_known || dns->n > 0)) {
        const struct node_addr *own = d->o.addr.host[0] == '\0' ? driver_own(d, dns->list, dns->n) : NULL;
        d->o.hooks.found(d->o.hooks.ctx, dns->list, dns->n, true, own);
        dns->reported = true;
    }
}

/* ---- the whole ---- */

static void take_words(struct dns *dns, const char *text) {
    for (const char *p = text + strspn(text, " \t"); *p != '\0'; p += strspn(p, " \t")) {
        struct slice word = slice_make(p, strcspn(p, " \t"));
        struct name *name = &dns->names[dns->name_count++];
        struct buf why = {0};
        name->srv = !node_addr_parse(word, &name->addr, &why); /* cluster_settings_check has seen which */
        if (name->srv) {
            memset(&name->addr, 0, sizeof(name->addr));
            memcpy(name->addr.host, word.p + 4, word.n - 4);
        }
        buf_free(&why);
        p += word.n;
    }
}

void driver_dns_run(struct driver *d) {
    struct dns dns = {.names = mem_zalloc(CLUSTER_MAX_PEERS * sizeof(*dns.names))};
    take_words(&dns, d->o.conf->peers);
    do {
        for (unsigned i = 0; i < dns.name_count && !driver_ends(d); i++) {
            look_up(&dns.names[i]);
        }
        report(d, &dns);
    } while (driver_wait(d, d->o.conf->cluster_dns_interval));
    for (unsigned i = 0; i < dns.name_count; i++) {
        mem_free(dns.names[i].list);
    }
    mem_free(dns.names);
    mem_free(dns.list);
}
