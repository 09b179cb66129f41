/* SPDX-License-Identifier: BSD-3-Clause */
/* driver: the thread a driver runs on, and which of the addresses it finds is this machine's. */
#include "cluster/driver.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "src/base/check.h"
#include "src/base/mem.h"
#include "src/conf/conf.h"

struct driver_wait {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t end;
    _Atomic bool ends;
};

static const struct driver_kind kinds[] = {
#define DRIVER(name, run, wake, doc) {#name, run, wake, doc},
#include "cluster/drivers.def"
#undef DRIVER
};

const struct driver_kind *driver_kind(unsigned i) {
    return i < sizeof(kinds) / sizeof(kinds[0]) ? &kinds[i] : NULL;
}

static void *thread_main(void *arg) {
    struct driver *d = arg;
    pthread_setname_np(pthread_self(), "driver");
    d->kind->run(d);
    return NULL;
}

struct driver *driver_start(const struct driver_options *o) {
    struct driver *d = mem_zalloc(sizeof(*d));
    pthread_condattr_t attr;
    d->o = *o;
    d->o.conf = conf_ref((struct conf *)(uintptr_t)o->conf);
    d->kind = driver_kind((unsigned)o->conf->cluster_driver);
    CHECK(d->kind != NULL);
    d->wait = mem_zalloc(sizeof(*d->wait));
    pthread_mutex_init(&d->wait->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&d->wait->end, &attr);
    pthread_condattr_destroy(&attr);
    CHECK(pthread_create(&d->wait->thread, NULL, thread_main, d) == 0);
    return d;
}

void driver_stop(struct driver **dp) {
    struct driver *d = *dp;
    *dp = NULL;
    pthread_mutex_lock(&d->wait->lock);
    atomic_store(&d->wait->ends, true);
    pthread_cond_signal(&d->wait->end);
    if (d->kind->wake != NULL) {
        d->kind->wake(d);
    }
    pthread_mutex_unlock(&d->wait->lock);
    pthread_join(d->wait->thread, NULL);
    pthread_cond_destroy(&d->wait->end);
    pthread_mutex_destroy(&d->wait->lock);
    conf_unref((struct conf *)(uintptr_t)d->o.conf);
    mem_free(d->wait);
    mem_free(d);
}

bool driver_ends(const struct driver *d) {
    return atomic_load(&d->wait->ends);
}

void driver_set_state(struct driver *d, void *state) {
    pthread_mutex_lock(&d->wait->lock);
    d->state = state;
    pthread_mutex_unlock(&d->wait->lock);
}

bool driver_wait(struct driver *d, int64_t ms) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += ms % 1000 * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&d->wait->lock);
    while (!driver_ends(d) && pthread_cond_timedwait(&d->wait->end, &d->wait->lock, &until) == 0) {
    }
    pthread_mutex_unlock(&d->wait->lock);
    return !driver_ends(d);
}

/* ---- which one is this machine ---- */

static bool same_ip(const struct sockaddr *a, const struct sockaddr *b) {
    if (a == NULL || b == NULL || a->sa_family != b->sa_family) {
        return false;
    }
    if (a->sa_family == AF_INET) {
        return ((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr ==
               ((const struct sockaddr_in *)(const void *)b)->sin_addr.s_addr;
    }
    return a->sa_family == AF_INET6 && memcmp(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr,
                                              &((const struct sockaddr_in6 *)(const void *)b)->sin6_addr, 16) == 0;
}

static bool is_here(const struct ifaddrs *interfaces, const struct addrinfo *found) {
    for (; found != NULL; found = found->ai_next) {
        for (const struct ifaddrs *i = interfaces; i != NULL; i = i->ifa_next) {
            if (same_ip(found->ai_addr, i->ifa_addr)) {
                return true;
            }
        }
    }
    return false;
}

const struct node_addr *driver_own(const struct driver *d, const struct node_addr *list, unsigned n) {
    const struct node_addr *own = NULL;
    struct ifaddrs *interfaces = NULL;
    if (getifaddrs(&interfaces) != 0) {
        return NULL;
    }
    for (unsigned i = 0; i < n && own == NULL; i++) {
        struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
        bool mine = list[i].port == d->o.addr.port && list[i].bus_port == d->o.addr.bus_port;
        if (mine && getaddrinfo(list[i].host, NULL, &hints, &found) == 0) {
            own = is_here(interfaces, found) ? &list[i] : NULL;
            freeaddrinfo(found);
        }
    }
    freeifaddrs(interfaces);
    return own;
}
