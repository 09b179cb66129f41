/* SPDX-License-Identifier: BSD-3-Clause */
/* guards: what the demonstration of the guards is made of: an origin that takes its time, and readers in front of it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "bench/load/hist.h"
#include "bench/load/sock.h"

enum { VALUE_SIZE = 100, KEY_SIZE = 24 };

/* An HTTP origin: every load takes delay_ms, at most slots at once, the others queue. Never returns.
 * GET /stats answers {"loads": N, "peak": N}: loads since /reset, and the most that arrived within one tenth of a second. */
struct origin_options {
    struct address address;
    uint64_t delay_ms;
    unsigned slots;
};
void origin_serve(const struct origin_options *o) __attribute__((noreturn));

/* SETs keys 0 to n - 1, all to end at the same wall-clock millisecond. */
void fill_run(const struct address *cache, uint64_t keys, int64_t end_ms);

/* What happens to key 0 when all connections are open, before anybody reads. */
enum before { BEFORE_NOTHING, BEFORE_DEL /* it is absent */, BEFORE_EXPIRE /* it has just expired */ };

/* Each connection is one reader of an application: GET, and where that gives nothing: load from the origin, SET. */
struct readers_options {
    struct address cache, origin;
    bool look_aside;      /* false: the cache loads; nothing is an error then */
    unsigned connections;
    uint64_t keys;
    uint64_t hot;         /* the first so many keys get hot_percent of the reads */
    double hot_percent;
    double rate;          /* reads per second of all together; 0: everybody reads once, all at the same moment */
    double seconds;       /* how long, with a rate */
    int64_t begin_ms;     /* wall clock; 0: at once */
    int64_t ttl_ms;       /* of what is SET */
    enum before before;
};

struct readers_result {
    uint64_t reads, loads, errors;
    char first_error[128];
    struct hist latency; /* nanoseconds from when a read was due until it had its value, SET included; failed ones too */
};

void readers_run(const struct readers_options *o, struct readers_result *result);

/* "key:00000000001234", and its value: bytes that begin with the key. */
void key_print(char key[KEY_SIZE], uint64_t n);
void value_print(char value[VALUE_SIZE], const char *key);
