/* SPDX-License-Identifier: BSD-3-Clause */
/* members_wire: messages between the members of a cluster as bytes. Little endian; strict: what is not exactly a message is none.
 *
 *   1 protocol  1 type  2 records  8 ring version  8 hash of the table  8 settings  4 number  20 sender  20 subject
 *   address it was sent to: 1 length  n host  2 port  2 port for peers
 *   each record: 20 id  1 intent  1 verdict  2 weight  2 lot  8 incarnation  address as above
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "cluster/node_addr.h"
#include "cluster/ring.h"
#include "src/base/buf.h"

enum { MEMBERS_PROTOCOL = 3, MEMBERS_MAX_RECORDS = 2000, MEMBERS_MAX_BYTES = 1 << 20 /* of any message */ };

enum member_intent { INTENT_JOINING, INTENT_MEMBER, INTENT_LEAVING, INTENT_LEFT, INTENT_COUNT };
enum member_verdict { VERDICT_ALIVE, VERDICT_SUSPECT, VERDICT_DEAD, VERDICT_REMOVED, VERDICT_FORGOTTEN, VERDICT_COUNT };

struct member_record {
    char id[NODE_ID_HEX + 1];
    struct node_addr addr; /* host "" only in a sender's own record, when it does not know */
    uint16_t weight, lot;  /* of struct ring_node */
    uint8_t intent, verdict;
    uint64_t incarnation;
};

enum members_type {
    MEMBERS_PING,       /* subject: who is meant, zeros when unknown */
    MEMBERS_ACK,        /* with the ping's number; subject: who is alive, the sender or the one it was asked to ping */
    MEMBERS_PING_FOR,   /* ping the subject for me */
    MEMBERS_TABLE,      /* all records; the receiver answers with its own */
    MEMBERS_TABLE_BACK, /* the answer */
    MEMBERS_TYPE_COUNT
};

struct members_message {
    uint8_t type;
    uint16_t records;
    uint64_t version, table;
    uint64_t settings; /* the sender's: cluster_settings_digest */
    uint32_t number;
    char from[NODE_ID_HEX + 1], subject[NODE_ID_HEX + 1];
    struct node_addr to;
    struct slice rest; /* the records, for members_next_record; borrowed */
};

/* The head; as many members_put_record as head->records say follow. */
void members_put_head(struct buf *out, const struct members_message *head);
void members_put_record(struct buf *out, const struct member_record *r);
/* Checks the whole message. False: it is none, or of another protocol. */
bool members_parse(struct slice bytes, struct members_message *out);
/* The next record out of a message that was parsed; false at the end. */
bool members_next_record(struct members_message *m, struct member_record *out);
