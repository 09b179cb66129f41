/* SPDX-License-Identifier: BSD-3-Clause */
/* members_probe: who answers. Pings in a shuffled round, help from others before a verdict, and what becomes of verdicts with time. After SWIM (Das, Gupta,
 * Motivala 2002), with the node's own judgement beside the agreed one. */
#include <string.h>

#include "cluster/members_int.h"

/* ---- what this node sees ---- */

void members_count_failure(struct members *m, struct member *e, unsigned weight, int64_t now_ms) {
    e->answers = 0;
    e->failures += weight;
    if (!e->unreachable && e->failures >= MEMBERS_UNREACHABLE) {
        e->unreachable = true;
        members_publish(m, now_ms); /* the next call goes elsewhere */
    }
}

void members_failed(struct members *m, const char *id, int64_t now_ms) {
    struct member *e = members_find(m, id);
    if (e != NULL && e != m->self && !member_is_gone(e)) {
        members_count_failure(m, e, 1, now_ms);
    }
}

void members_answered(struct members *m, struct member *e, int64_t now_ms) {
    e->number = 0;
    e->acked_ms = now_ms;
    e->answers++;
    if (!e->unreachable) {
        e->failures = 0;
    } else if (e->answers >= MEMBERS_REACHABLE) {
        e->unreachable = false;
        e->failures = 0;
        members_publish(m, now_ms);
    }
}

/* ---- pings ---- */

static void ping(struct members *m, struct member *e, int64_t now_ms) {
    e->number = ++m->next_number;
    e->number += e->number == 0;
    m->next_number = e->number;
    e->probed_ms = now_ms;
    e->helped = false;
    members_send(m, MEMBERS_PING, e->r.id, &e->r.addr, e->number, e->r.id);
}

static uint32_t gcd(uint32_t a, uint32_t b) {
    return b == 0 ? a : gcd(b, a % b);
}

/* The nodes one after the other, in an order that is another one each time round. */
static struct member *next_in_walk(struct members *m) {
    if (m->cursor % m->n == 0) {
        do {
            m->stride = (uint32_t)(members_random(m) % m->n) + 1;
        } while (gcd(m->stride, m->n) != 1);
    }
    return m->list[(uint64_t)m->cursor++ % m->n * m->stride % m->n];
}

static bool worth_a_ping(const struct members *m, const struct member *e) {
    return e != m->self && !member_is_gone(e) && e->number == 0;
}

static void ping_round(struct members *m, int64_t now_ms) {
    unsigned pinged = 0, dead = 0, again = 0;
    m->cursor = m->cursor >= m->n ? 0 : m->cursor;
    for (unsigned i = 0; i < m->n && pinged < MEMBERS_PROBES; i++) {
        struct member *e = next_in_walk(m);
        bool is_dead = e->r.verdict == VERDICT_DEAD;
        if (worth_a_ping(m, e) && (!is_dead || dead == 0)) {
            ping(m, e, now_ms);
            dead += is_dead;
            pinged++;
        }
    }
    for (unsigned i = 0; i < m->n && again < MEMBERS_RETRIES; i++) { /* so that a node is back soon after it answers again */
        struct member *e = m->list[i];
        if (worth_a_ping(m, e) && e->unreachable && e->r.verdict < VERDICT_DEAD) {
            ping(m, e, now_ms);
            again++;
        }
    }
}

static void ask_for_help(struct members *m, struct member *e) {
    unsigned asked = 0;
    uint64_t start = members_random(m);
    e->helped = true;
    for (unsigned i = 0; i < m->n && asked < MEMBERS_HELPERS; i++) {
        struct member *helper = m->list[(start + i) % m->n];
        if (helper != e && members_up(m, helper) && helper->acked_ms >= 0) {
            members_send(m, MEMBERS_PING_FOR, helper->r.id, &helper->r.addr, e->number, e->r.id);
            asked++;
        }
    }
}

static void check_ping(struct members *m, struct member *e, int64_t now_ms) {
    int64_t age = now_ms - e->probed_ms;
    if (e->number == 0 || age < members_interval_ms(m)) {
        return;
    }
    if (!e->helped) {
        members_count_failure(m, e, 2, now_ms);
        ask_for_help(m, e);
        return;
    }
    if (age >= 2 * members_interval_ms(m)) {
        e->number = 0;
        members_count_failure(m, e, 2, now_ms);
        if (e->r.verdict == VERDICT_ALIVE) {
            members_give_verdict(m, e, VERDICT_SUSPECT, now_ms);
        }
    }
}

/* ---- what time does to verdicts ---- */

static bool most_are_here(const struct members *m) {
    unsigned all = 0, here = 0;
    for (unsigned i = 0; i < m->n; i++) {
        const struct member *e = m->list[i];
        bool counts = !member_is_gone(e);
        all += counts;
        here += counts && (e == m->self || (e->r.verdict == VERDICT_ALIVE && !e->unreachable));
    }
    return here * 2 > all;
}

static bool is_listed(const struct members *m, const struct member *e) {
    for (unsigned i = 0; i < m->seed_count; i++) {
        if (strcmp(m->seeds[i].id, e->r.id) == 0 || node_addr_equal(&m->seeds[i].addr, &e->r.addr)) {
            return true;
        }
    }
    return false;
}

/* Another node answers where this one was. */
static bool is_replaced(const struct members *m, const struct member *e) {
    for (unsigned i = 0; i < m->n; i++) {
        const struct member *other = m->list[i];
        if (other != e && !member_is_gone(other) && node_addr_equal(&other->r.addr, &e->r.addr) &&
            (other == m->self || (members_up(m, other) && other->acked_ms > e->since_ms))) {
            return true;
        }
    }
    return false;
}

static bool may_be_removed(const struct members *m, const struct member *e, int64_t now_ms) {
    if (e->r.intent != INTENT_MEMBER || is_replaced(m, e) || (m->authoritative && !is_listed(m, e))) {
        return true;
    }
    return m->o.remove_after_ms > 0 && now_ms - e->since_ms >= m->o.remove_after_ms && most_are_here(m);
}

/* True when the record is to be dropped. */
static bool age(struct members *m, struct member *e, int64_t now_ms) {
    int64_t held = now_ms - e->since_ms;
    if (member_is_gone(e)) {
        return held >= MEMBERS_GONE_MS;
    }
    if (e->r.verdict == VERDICT_SUSPECT && held >= m->o.timeout_ms / 2) {
        members_give_verdict(m, e, VERDICT_DEAD, now_ms);
    } else if (e->r.verdict == VERDICT_DEAD && may_be_removed(m, e, now_ms)) {
        members_give_verdict(m, e, VERDICT_REMOVED, now_ms);
    }
    return false;
}

/* This process did not run for a while: what it was waiting for may have come. Nobody is blamed. */
static void excuse_all(struct members *m, int64_t stalled_ms) {
    for (unsigned i = 0; i < m->n; i++) {
        m->list[i]->number = 0;
        m->list[i]->since_ms += stalled_ms;
    }
}

void members_probe(struct members *m, int64_t now_ms) {
    for (unsigned i = m->n; i-- > 0;) {
        struct member *e = m->list[i];
        if (e != m->self) {
            check_ping(m, e, now_ms);
            if (age(m, e, now_ms)) {
                members_drop(m, e);
            }
        }
    }
    if (now_ms >= m->round_ms || m->hurry) {
        m->hurry = false;
        m->round_ms = now_ms + members_interval_ms(m);
        ping_round(m, now_ms);
    }
}

void members_tick(struct members *m, int64_t now_ms) {
    int64_t since_last = now_ms - m->tick_ms;
    m->tick_ms = now_ms;
    if (since_last >= members_interval_ms(m) + members_tick_ms(m)) {
        excuse_all(m, since_last);
        m->apart_ms = now_ms;
    } else if (!most_are_here(m)) {
        m->apart_ms = now_ms;
    }
    if (!m->alone) {
        members_ping_seeds(m, now_ms);
        members_probe(m, now_ms);
    }
    if (m->self->r.intent == INTENT_JOINING && (m->may_join || now_ms >= m->join_by_ms)) {
        members_become_member(m);
    }
    members_publish(m, now_ms);
}
