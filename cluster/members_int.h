/* SPDX-License-Identifier: BSD-3-Clause */
/* members_int: what the parts of members share: the table (members.c), probes and verdicts (members_probe.c), messages (members_talk.c). */
#pragma once

#include "cluster/members.h"

enum {
    MEMBERS_ROUNDS = 4,       /* of probes within cluster-node-timeout */
    MEMBERS_PROBES = 8,       /* new ones in a round, at most */
    MEMBERS_HELPERS = 3,      /* who are asked to ping for us */
    MEMBERS_RELAYS = 64,      /* pings under way for others */
    MEMBERS_NEWS = 16,        /* records that ride on a message */
    MEMBERS_UNREACHABLE = 3,  /* failures in a row: a call counts one, a probe two */
    MEMBERS_REACHABLE = 2,    /* answers in a row that make up for them */
    MEMBERS_RETRIES = 4,      /* pings of unreachable nodes in a round, on top */
    MEMBERS_SEED_PINGS = 8,   /* in a tick */
    MEMBERS_SEED_MS = 5000,   /* between pings of an address where nobody answers, at most */
    MEMBERS_MEET_MS = 60000,  /* how long an address from MEET is tried */
    MEMBERS_REFUSALS_MS = 60000, /* between two of which is told */
    MEMBERS_GONE_MS = 3600000 /* how long the record of a node that is gone is kept, so that old news of it are known as such */
};

struct member {
    struct member_record r;
    int64_t since_ms;           /* of the verdict, as seen here */
    int64_t acked_ms;           /* when it last answered a ping; -1: never */
    int64_t probed_ms, synced_ms; /* when it was last pinged; sent a table */
    uint32_t number;            /* of the ping under way; 0: none */
    bool helped;                /* others have been asked to ping it, too */
    bool unreachable;           /* from here */
    bool began_beside;          /* it was joining, and had no lot, while this node had none */
    bool remembered;            /* from the last life, and nobody has spoken of it since: not told to others, and no part of the table's hash */
    unsigned failures, answers; /* in a row */
    uint64_t settings;          /* as it has said, once heard_settings */
    bool heard_settings;
    uint8_t differs;            /* DIFFER_ */
    unsigned news;              /* messages that this record should still ride on */
};

struct seed {
    struct node_addr addr;
    char id[NODE_ID_HEX + 1]; /* who answered there; "" nobody yet */
    bool self;
    int64_t next_ms, until_ms; /* of the next ping; until_ms: for how long it is tried, -1: for good (the driver's) */
    uint32_t number;           /* of the last ping */
    unsigned tries;
};

struct relay {
    uint32_t number, theirs;
    char asked_by[NODE_ID_HEX + 1], subject[NODE_ID_HEX + 1];
};

struct members {
    struct members_options o;
    struct members_hooks hooks;
    struct members_stats stats;
    struct member **list; /* by id; this node among them */
    unsigned n, cap;
    struct member *self;
    struct seed *seeds;
    unsigned seed_count;
    struct relay relays[MEMBERS_RELAYS]; /* in turn */
    unsigned next_relay;
    uint64_t epoch, table; /* table: hash of all records */
    uint32_t digest;       /* of the ring's set */
    uint32_t next_number;
    uint64_t random;
    unsigned cursor; /* into a walk over list in a shuffled order */
    uint32_t stride;
    int64_t round_ms, tick_ms, join_by_ms; /* tick_ms: of the last tick */
    int64_t apart_ms; /* when this node last did not run for a while, or did not see most of the ring */
    unsigned clashes;
    int64_t grew_ms;  /* when a record of another node came */
    bool may_join;    /* it knows what others know */
    bool doubted;     /* while it joined */
    bool has_lot;
    int64_t refused_ms; /* when of a refused message may be told again */
    bool authoritative, alone; /* alone: forgotten; talks to nobody */
    bool set_dirty, hurry; /* hurry: there is news: the next round is now */
    struct ring *ring;
    uint8_t states[RING_MAX_NODES]; /* as published, in the ring's order */
};

/* members.c */
struct member *members_find(const struct members *m, const char *id);
bool member_is_gone(const struct member *e);
/* Takes a record in; false when it said nothing new. members_settle must follow. */
bool members_merge(struct members *m, const struct member_record *r, int64_t now_ms);
/* After merges or changes of one's own: hashes anew, and the epoch. theirs: version that came with them, 0: none. */
void members_settle(struct members *m, uint64_t theirs);
/* As seen here: told to the others. */
void members_give_verdict(struct members *m, struct member *e, enum member_verdict verdict, int64_t now_ms);
/* This node's record has changed. */
void members_self_changed(struct members *m);
void members_spread(struct members *m, struct member *e);
/* Others reach this node there. */
void members_learn_self(struct members *m, const struct node_addr *at);
/* At once, or with a tick that is to come: when nodes begin at once, they wait for each other, for a round without news. */
void members_become_member(struct members *m);
enum node_state members_state(const struct members *m, const struct member *e, int64_t now_ms);
uint64_t members_random(struct members *m);
void members_tell(struct members *m, enum members_event event, const char *id, const char *text);
bool members_up(const struct members *m, const struct member *e); /* another one, there, and not known to be silent */
int64_t members_interval_ms(const struct members *m);               /* of rounds */
/* The node of an address, of those that are not gone; NULL. */
struct member *members_at(const struct members *m, const struct node_addr *addr);
void members_drop(struct members *m, struct member *e);
/* There are nodes of the last life that nobody has spoken of yet. */
bool members_remembers(const struct members *m);
/* Makes the ring anew if it must be, and publishes it. */
void members_publish(struct members *m, int64_t now_ms);

/* The node has said what its settings are, or this one's have changed: whether they differ, told when that is new. */
void members_compare_settings(struct members *m, struct member *e);

/* members_talk.c */
void members_send(struct members *m, enum members_type type, const char *id, const struct node_addr *to, uint32_t number, const char *subject);
void members_send_table(struct members *m, enum members_type type, const char *id, const struct node_addr *to);
void members_ping_seeds(struct members *m, int64_t now_ms);
struct seed *members_seed_at(const struct members *m, const struct node_addr *addr);

/* members_probe.c */
void members_probe(struct members *m, int64_t now_ms);
void members_answered(struct members *m, struct member *e, int64_t now_ms);
void members_count_failure(struct members *m, struct member *e, unsigned weight, int64_t now_ms);
