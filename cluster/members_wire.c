/* SPDX-License-Identifier: BSD-3-Clause */
/* members_wire: messages between the members of a cluster as bytes. */
#include "cluster/members_wire.h"

#include <string.h>

enum { HEAD_BYTES = 1 + 1 + 2 + 8 + 8 + 8 + 4 + 2 * NODE_ID_HEX / 2 };

/* ---- writing ---- */

static void put_le(struct buf *out, uint64_t v, unsigned bytes) {
    for (unsigned i = 0; i < bytes; i++) {
        buf_putc(out, (char)(v >> (8 * i)));
    }
}

static unsigned nibble(char c) {
    return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10) & 15;
}

static void put_id(struct buf *out, const char *id) {
    for (unsigned i = 0; i < NODE_ID_HEX; i += 2) {
        buf_putc(out, (char)(id[0] == '\0' ? 0 : nibble(id[i]) << 4 | nibble(id[i + 1])));
    }
}

static void put_addr(struct buf *out, const struct node_addr *a) {
    size_t n = strlen(a->host);
    put_le(out, n, 1);
    buf_put(out, a->host, n);
    put_le(out, a->port, 2);
    put_le(out, a->bus_port, 2);
}

void members_put_head(struct buf *out, const struct members_message *m) {
    put_le(out, MEMBERS_PROTOCOL, 1);
    put_le(out, m->type, 1);
    put_le(out, m->records, 2);
    put_le(out, m->version, 8);
    put_le(out, m->table, 8);
    put_le(out, m->settings, 8);
    put_le(out, m->number, 4);
    put_id(out, m->from);
    put_id(out, m->subject);
    put_addr(out, &m->to);
}

void members_put_record(struct buf *out, const struct member_record *r) {
    put_id(out, r->id);
    put_le(out, r->intent, 1);
    put_le(out, r->verdict, 1);
    put_le(out, r->weight, 2);
    put_le(out, r->lot, 2);
    put_le(out, r->incarnation, 8);
    put_addr(out, &r->addr);
}

/* ---- reading ---- */

static bool take_le(struct slice *s, unsigned bytes, uint64_t *v) {
    if (s->n < bytes) {
        return false;
    }
    *v = 0;
    for (unsigned i = 0; i < bytes; i++) {
        *v |= (uint64_t)(unsigned char)s->p[i] << (8 * i);
    }
    *s = slice_make(s->p + bytes, s->n - bytes);
    return true;
}

/* "" for zeros. */
static bool take_id(struct slice *s, char *id) {
    static const char digits[] = "0123456789abcdef";
    unsigned any = 0;
    if (s->n < NODE_ID_HEX / 2) {
        return false;
    }
    for (unsigned i = 0; i < NODE_ID_HEX / 2; i++) {
        unsigned char c = (unsigned char)s->p[i];
        id[2 * i] = digits[c >> 4];
        id[2 * i + 1] = digits[c & 15];
        any |= c;
    }
    id[any != 0 ? NODE_ID_HEX : 0] = '\0';
    *s = slice_make(s->p + NODE_ID_HEX / 2, s->n - NODE_ID_HEX / 2);
    return true;
}

static bool take_addr(struct slice *s, struct node_addr *a) {
    uint64_t n, port, bus_port;
    if (!take_le(s, 1, &n) || s->n < n) {
        return false;
    }
    struct slice host = slice_make(s->p, (size_t)n);
    if (n > 0 && !node_host_valid(host)) {
        return false;
    }
    memset(a, 0, sizeof(*a));
    memcpy(a->host, host.p, host.n);
    *s = slice_make(s->p + n, s->n - (size_t)n);
    if (!take_le(s, 2, &port) || !take_le(s, 2, &bus_port) || port == 0 || bus_port == 0) {
        return false;
    }
    a->port = (uint16_t)port;
    a->bus_port = (uint16_t)bus_port;
    return true;
}

static bool take_record(struct slice *s, struct member_record *r) {
    uint64_t intent, verdict, weight, lot;
    if (!take_id(s, r->id) || !take_le(s, 1, &intent) || !take_le(s, 1, &verdict) || !take_le(s, 2, &weight) || !take_le(s, 2, &lot) ||
        !take_le(s, 8, &r->incarnation) || !take_addr(s, &r->addr)) {
        return false;
    }
    r->intent = (uint8_t)intent;
    r->verdict = (uint8_t)verdict;
    r->weight = (uint16_t)weight;
    r->lot = (uint16_t)lot;
    return r->id[0] != '\0' && intent < INTENT_COUNT && verdict < VERDICT_COUNT && weight <= RING_MAX_WEIGHT && lot < RING_LOTS;
}

bool members_next_record(struct members_message *m, struct member_record *out) {
    return take_record(&m->rest, out);
}

static bool records_valid(const struct members_message *m) {
    struct slice rest = m->rest;
    for (unsigned i = 0; i < m->records; i++) {
        struct member_record r;
        if (!take_record(&rest, &r) || (r.addr.host[0] == '\0' && strcmp(r.id, m->from) != 0)) {
            return false;
        }
    }
    return rest.n == 0;
}

bool members_parse(struct slice s, struct members_message *m) {
    uint64_t protocol, type, records, number;
    memset(m, 0, sizeof(*m));
    if (s.n > MEMBERS_MAX_BYTES || s.n < HEAD_BYTES || !take_le(&s, 1, &protocol) || protocol != MEMBERS_PROTOCOL ||
        !take_le(&s, 1, &type) || type >= MEMBERS_TYPE_COUNT || !take_le(&s, 2, &records) || records > MEMBERS_MAX_RECORDS ||
        !take_le(&s, 8, &m->version) || !take_le(&s, 8, &m->table) || !take_le(&s, 8, &m->settings) ||
        !take_le(&s, 4, &number) || !take_id(&s, m->from) ||
        !take_id(&s, m->subject) || !take_addr(&s, &m->to)) {
        return false;
    }
    m->type = (uint8_t)type;
    m->records = (uint16_t)records;
    m->number = (uint32_t)number;
    m->rest = s;
    return m->from[0] != '\0' && records_valid(m);
}
