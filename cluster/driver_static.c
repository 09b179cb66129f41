/* SPDX-License-Identifier: BSD-3-Clause */
/* driver_static: the addresses of `peers`, as they stand. Names in it are looked up where they are used; here only until it is known which one is
 * this node. */
#include "cluster/driver.h"
#include "cluster/settings.h"
#include "src/base/check.h"
#include "src/base/mem.h"
#include "src/conf/conf.h"

enum { LOOK_AGAIN_MS = 5000 };

void driver_static_run(struct driver *d) {
    struct node_addr *list = mem_alloc(CLUSTER_MAX_PEERS * sizeof(*list));
    struct buf why = {0};
    int n = node_addrs_parse(d->o.conf->peers, list, CLUSTER_MAX_PEERS, &why);
    CHECK(n >= 0); /* cluster_settings_check has seen it */
    d->o.hooks.found(d->o.hooks.ctx, list, (unsigned)n, false, NULL);
    const struct node_addr *own = NULL;
    do {
        own = d->o.addr.host[0] == '\0' ? driver_own(d, list, (unsigned)n) : NULL;
    } while (n > 0 && own == NULL && d->o.addr.host[0] == '\0' && driver_wait(d, LOOK_AGAIN_MS));
    if (own != NULL) {
        d->o.hooks.found(d->o.hooks.ctx, list, (unsigned)n, false, own);
    }
    buf_free(&why);
    mem_free(list);
}
