/* SPDX-License-Identifier: BSD-3-Clause */
/* hold: reads under a policy's guard, at the steps before the handler; and replies that are held until another client has
 * written the key. A held reply does not hold up its connection (due.h): what the client sent behind it still runs, for it may be the
 * very write that others wait for. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "src/cmd/call.h"
#include "src/rt/loop.h"
#include "src/server/due.h"
#include "src/tier/guard.h"

struct parked;
struct session;
struct worker;

enum { HOLDS_MAX = 128 /* replies of one session held at once */, TICKETS_MAX = 64 /* leases one session may hold */ };

/* A held call's part of struct parked. */
struct hold {
    struct due due;
    struct lease_waiter waiter;
    struct msg woken;
    struct timer *timer;
    int64_t until_ms; /* it has its answer then, whatever happens */
    bool held;
    bool orphan;  /* the session has closed; a message is still under way */
};

/* A session's leases. */
struct holder {
    struct lease_owner *owner; /* NULL until it has a lease */
    struct lease_ticket tickets[TICKETS_MAX]; /* the last so many granted */
    unsigned next_ticket;
};

/* With the locks of c's keys held, for a call whose worker has rules: what they say before the fill, and behind it. OK: go on.
 * ERR_PARKED: the call was held. ERR_REPLIED: an error was written. */
enum err hold_before(struct call *c, struct worker *w);
enum err hold_after(struct call *c, struct worker *w);
/* The call deletes its key i whatever it has, and the origin of the key's rule is not told: it is not asked, either, so that values can
 * be invalidated while it is slow or down. After hold_before, with c->rule_of. */
bool hold_only_drops(const struct call *c, int i);
/* Host operations of src/cmd/lease.c. */
bool hold_may_lease(struct call *c);
bool hold_for(struct call *c, struct lease *lease, int64_t ms);
/* After a change, before commit: its consequences for those who wait. Returns the key's rule, or NULL. */
const struct rule *hold_changed(struct call *c, int i, enum key_change change);

/* The call begins to wait, at most so long. */
void hold_begin(struct session *s, struct parked *p, int64_t ms);
/* A held call that was parked for a fill, or yielded, runs again. */
void hold_again(struct parked *p);
/* The session closes: its leases go. */
void hold_close(struct session *s);
