/* SPDX-License-Identifier: BSD-3-Clause */
/* due: replies that are still missing: held back (hold.h) or asked of a peer (forward.h). They do not hold up their connection: what the
 * client sent behind them still runs. Only the replies wait, in order:
 *
 *   session:  [before 1] reply 1? [before 2] reply 2? ... [out]
 *
 * `before 1` may be sent, everything behind a reply still missing may not. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/list.h"
#include "src/resp/reply.h"

struct session;

struct due {
    struct list node; /* in the session's, in order of the replies */
    struct out before, reply;
    uint32_t tag;      /* for a peer's call: its number */
    bool done, silent; /* silent: the client does not want the reply */
    void (*release)(struct due *d); /* the reply has gone out, its outs are empty: the owner frees d */
    void (*orphan)(struct due *d);  /* the session closes; the reply may or may not be there */
};

struct dues {
    struct list list;
    unsigned count;
    uint32_t begun; /* so far */
};

void dues_init(struct dues *dues);
/* From now on replies of s wait behind d. */
void due_begin(struct session *s, struct due *d);
/* d->reply is whole. What may be sent now will be. */
void due_done(struct session *s, struct due *d);
/* The session closes: orphan is called for each. */
void dues_close(struct session *s);
/* What may be sent now. */
struct out *dues_front(struct session *s);
/* Bytes that wait behind a missing reply. */
size_t dues_bytes(const struct session *s);
