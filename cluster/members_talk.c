/* SPDX-License-Identifier: BSD-3-Clause */
/* members_talk: messages out and in, and the addresses where nodes may be. */
#include <stdio.h>
#include <string.h>

#include "cluster/members_int.h"

/* ---- out ---- */

static void emit(struct members *m, const char *id, const struct node_addr *to, struct buf *bytes) {
    m->stats.sent++;
    m->hooks.send(m->hooks.ctx, id, to, buf_slice(bytes));
    buf_free(bytes);
}

static struct members_message head_of(const struct members *m, enum members_type type, const struct node_addr *to) {
    struct members_message head = {.type = (uint8_t)type, .version = members_version(m), .table = m->table, .settings = m->o.settings, .to = *to};
    memcpy(head.from, m->self->r.id, sizeof(head.from));
    return head;
}

/* News that ride along, those first that have done so least. Their number. */
static unsigned put_news(struct members *m, const struct member *not_this, struct buf *out) {
    struct member *chosen[MEMBERS_NEWS];
    unsigned n = 0;
    for (unsigned i = 0; i < m->n; i++) {
        struct member *e = m->list[i];
        if (e->news == 0 || e == m->self || e == not_this || e->remembered) {
            continue;
        }
        unsigned at = n < MEMBERS_NEWS ? n++ : MEMBERS_NEWS;
        for (; at > 0 && chosen[at - 1]->news < e->news; at--) {
            if (at < MEMBERS_NEWS) {
                chosen[at] = chosen[at - 1];
            }
        }
        if (at < MEMBERS_NEWS) {
            chosen[at] = e;
        }
    }
    for (unsigned i = 0; i < n; i++) {
        chosen[i]->news--;
        members_put_record(out, &chosen[i]->r);
    }
    return n;
}

/* The sender's own record first; then what the receiver is thought to be, so that it can contradict; then news. */
void members_send(struct members *m, enum members_type type, const char *id, const struct node_addr *to, uint32_t number, const char *subject) {
    struct members_message head = head_of(m, type, to);
    const struct member *receiver = members_find(m, id);
    struct buf records = {0}, bytes = {0};
    head.number = number;
    memcpy(head.subject, subject, strlen(subject) + 1);
    members_put_record(&records, &m->self->r);
    head.records = 1;
    if (receiver != NULL && receiver->r.verdict != VERDICT_ALIVE) {
        members_put_record(&records, &receiver->r);
        head.records++;
    }
    head.records = (uint16_t)(head.records + put_news(m, receiver, &records));
    members_put_head(&bytes, &head);
    buf_put_slice(&bytes, buf_slice(&records));
    buf_free(&records);
    emit(m, id, to, &bytes);
}

void members_send_table(struct members *m, enum members_type type, const char *id, const struct node_addr *to) {
    struct members_message head = head_of(m, type, to);
    struct buf bytes = {0}, records = {0};
    members_put_record(&records, &m->self->r);
    head.records = 1;
    for (unsigned i = 0; i < m->n; i++) {
        if (m->list[i] != m->self && !m->list[i]->remembered) {
            members_put_record(&records, &m->list[i]->r);
            head.records++;
        }
    }
    members_put_head(&bytes, &head);
    buf_put_slice(&bytes, buf_slice(&records));
    buf_free(&records);
    m->stats.syncs++;
    emit(m, id, to, &bytes);
}

/* ---- seeds ---- */

struct seed *members_seed_at(const struct members *m, const struct node_addr *addr) {
    for (unsigned i = 0; i < m->seed_count; i++) {
        if (node_addr_equal(&m->seeds[i].addr, addr)) {
            return &m->seeds[i];
        }
    }
    return NULL;
}

void members_is_self(struct members *m, const struct node_addr *at, int64_t now_ms) {
    struct seed *seed = members_seed_at(m, at);
    if (seed != NULL) {
        seed->self = true;
    }
    members_learn_self(m, at);
    unsigned others = 0;
    for (unsigned i = 0; i < m->seed_count; i++) {
        others += !m->seeds[i].self;
    }
    if (others == 0 && !m->authoritative && !members_remembers(m)) {
        members_become_member(m);
    }
    members_publish(m, now_ms);
}

static bool seed_is_up(const struct members *m, const struct seed *seed) {
    const struct member *e = seed->id[0] != '\0' ? members_find(m, seed->id) : NULL;
    e = e != NULL && members_up(m, e) ? e : members_at(m, &seed->addr);
    return e != NULL && (e == m->self || (members_up(m, e) && !e->remembered));
}

void members_ping_seeds(struct members *m, int64_t now_ms) {
    unsigned pinged = 0;
    for (unsigned i = m->seed_count; i-- > 0 && !m->alone;) {
        struct seed *seed = &m->seeds[i];
        if (seed->until_ms >= 0 && (now_ms >= seed->until_ms || seed->id[0] != '\0')) {
            *seed = m->seeds[--m->seed_count];
            continue;
        }
        if (seed->self || now_ms < seed->next_ms || pinged == MEMBERS_SEED_PINGS) {
            continue;
        }
        int64_t wait = members_interval_ms(m) << (seed->tries < 8 ? seed->tries : 8);
        seed->next_ms = now_ms + (wait < MEMBERS_SEED_MS ? wait : MEMBERS_SEED_MS);
        if (seed_is_up(m, seed)) {
            seed->tries = 8;
            continue;
        }
        seed->tries++;
        seed->number = ++m->next_number;
        pinged++;
        members_send(m, MEMBERS_PING, "", &seed->addr, seed->number, "");
    }
}

static void seed_answered(struct members *m, const char *from, uint32_t number) {
    for (unsigned i = 0; i < m->seed_count; i++) {
        if (m->seeds[i].number == number) {
            memcpy(m->seeds[i].id, from, NODE_ID_HEX + 1);
        }
    }
}

/* ---- in ---- */

struct received {
    const struct members_message *head;
    struct member *sender;
    int64_t now_ms;
};

static void on_ping(struct members *m, const struct received *r) {
    const struct member *e = r->sender;
    members_send(m, MEMBERS_ACK, e->r.id, &e->r.addr, r->head->number, m->self->r.id);
}

/* An answer to a ping that was somebody else's question. */
static void relay_ack(struct members *m, const struct received *r) {
    for (unsigned i = 0; i < MEMBERS_RELAYS; i++) {
        struct relay *relay = &m->relays[i];
        const struct member *asked_by = relay->number == r->head->number ? members_find(m, relay->asked_by) : NULL;
        if (asked_by != NULL && strcmp(relay->subject, r->sender->r.id) == 0) {
            members_send(m, MEMBERS_ACK, asked_by->r.id, &asked_by->r.addr, relay->theirs, relay->subject);
            relay->number = 0;
            return;
        }
    }
}

static void on_ack(struct members *m, const struct received *r) {
    struct member *e = members_find(m, r->head->subject);
    if (e == NULL || r->head->number == 0) {
        return;
    }
    if (e != r->sender) { /* others can reach it */
        e->number = e->number == r->head->number ? 0 : e->number;
        return;
    }
    seed_answered(m, e->r.id, r->head->number);
    relay_ack(m, r);
    if (e->number == r->head->number) {
        members_answered(m, e, r->now_ms);
    }
}

static void on_ping_for(struct members *m, const struct received *r) {
    const struct member *e = members_find(m, r->head->subject);
    if (e == NULL || e == m->self || e == r->sender) {
        return;
    }
    struct relay *relay = &m->relays[m->next_relay++ % MEMBERS_RELAYS];
    *relay = (struct relay){.number = ++m->next_number, .theirs = r->head->number};
    memcpy(relay->asked_by, r->sender->r.id, sizeof(relay->asked_by));
    memcpy(relay->subject, e->r.id, sizeof(relay->subject));
    members_send(m, MEMBERS_PING, e->r.id, &e->r.addr, relay->number, e->r.id);
}

static void on_table(struct members *m, const struct received *r) {
    members_send_table(m, MEMBERS_TABLE_BACK, r->sender->r.id, &r->sender->r.addr);
}

static void on_table_back(struct members *m, const struct received *r) {
    (void)m;
    (void)r;
}

/* True when the table has changed. */
static bool take_records(struct members *m, struct members_message *head, const char *from_host, int64_t now_ms) {
    struct member_record r;
    bool changed = false;
    for (unsigned i = 0; i < head->records && !m->alone && members_next_record(head, &r); i++) {
        if (r.addr.host[0] == '\0' && from_host != NULL && node_host_valid(slice_cstr(from_host))) {
            memcpy(r.addr.host, from_host, strlen(from_host) + 1);
        }
        changed |= members_merge(m, &r, now_ms);
    }
    return changed;
}

/* Our tables differ still: one of us has something to learn. */
static void compare_tables(struct members *m, const struct members_message *head, struct member *e, int64_t now_ms) {
    bool newer = head->version >> 32 > m->epoch;
    int64_t pause = newer ? members_tick_ms(m) : members_interval_ms(m);
    if (head->table != m->table && (e->synced_ms < 0 || now_ms - e->synced_ms >= pause)) {
        e->synced_ms = now_ms;
        members_send_table(m, MEMBERS_TABLE, e->r.id, &e->r.addr);
    }
}

/* One's own ping of a seed that is oneself; or another process has this one's id. */
static void from_self(struct members *m, const struct members_message *head, int64_t now_ms) {
    const struct seed *seed = members_seed_at(m, &head->to);
    if (seed != NULL && head->type == MEMBERS_PING && seed->number == head->number) {
        members_is_self(m, &head->to, now_ms);
    } else {
        members_tell(m, MEMBERS_CLASH, m->self->r.id, "another process has the same id");
    }
}

static void refuse(struct members *m, const char *from, struct slice bytes, int64_t now_ms) {
    char text[96];
    unsigned version = bytes.n > 0 ? (unsigned char)bytes.p[0] : 0;
    m->stats.refused++;
    if (now_ms < m->refused_ms) {
        return;
    }
    m->refused_ms = now_ms + MEMBERS_REFUSALS_MS;
    if (version != MEMBERS_PROTOCOL) {
        snprintf(text, sizeof(text), "speaks version %u of the membership, this node speaks %d: it is no member here", version, MEMBERS_PROTOCOL);
    } else {
        snprintf(text, sizeof(text), "sent a message that is none of the membership");
    }
    members_tell(m, MEMBERS_REFUSED, from, text);
}

void members_receive(struct members *m, const char *from, const char *from_host, struct slice bytes, int64_t now_ms) {
    static void (*const handlers[MEMBERS_TYPE_COUNT])(struct members *, const struct received *) = {
        [MEMBERS_PING] = on_ping,   [MEMBERS_ACK] = on_ack,       [MEMBERS_PING_FOR] = on_ping_for,
        [MEMBERS_TABLE] = on_table, [MEMBERS_TABLE_BACK] = on_table_back};
    struct members_message head;
    if (!members_parse(bytes, &head) || strcmp(head.from, from) != 0) {
        refuse(m, from, bytes, now_ms);
        return;
    }
    m->stats.received++;
    if (m->alone) {
        return;
    }
    if (strcmp(from, m->self->r.id) == 0) {
        from_self(m, &head, now_ms);
        return;
    }
    members_learn_self(m, &head.to);
    if (take_records(m, &head, from_host, now_ms)) {
        members_settle(m, head.version);
    } else if ((uint32_t)head.version == m->digest && head.version >> 32 > m->epoch) {
        m->epoch = head.version >> 32;
    }
    struct received r = {&head, members_find(m, from), now_ms};
    if (m->alone || r.sender == NULL) {
        return;
    }
    r.sender->settings = head.settings;
    r.sender->heard_settings = true;
    members_compare_settings(m, r.sender);
    handlers[head.type](m, &r);
    if (head.table == m->table || head.type == MEMBERS_TABLE_BACK) {
        members_become_member(m); /* it knows what the others know */
    } else if (head.type != MEMBERS_TABLE) {
        compare_tables(m, &head, r.sender, now_ms);
    }
}
