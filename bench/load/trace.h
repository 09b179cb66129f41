/* SPDX-License-Identifier: BSD-3-Clause */
/* trace: a recorded sequence of requests, read from packed little-endian records {u64 key; u32 size},
 * plain or in gzip. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct trace_record {
    uint64_t key;
    uint32_t length; /* bytes of the value: the same in all records of a key */
    uint32_t id;     /* the key's number in order of first sight */
};

struct trace {
    struct trace_record *records; /* owned */
    uint64_t n;
    uint32_t keys;         /* distinct keys */
    uint64_t value_bytes;  /* of all distinct keys together: the working set without keys */
    double read_mean;      /* mean length over the requests */
    bool sized;            /* some record has a length of its own */
};

/* Reads at most limit records (0 for all). A record's size is the length, and a key keeps its first
 * one. Size 1 stands for "unknown": then the length is fixed_length, or 32 << xxh64(key) % 6 when that is 0. Ends
 * the process when the file cannot be read. */
void trace_read(struct trace *t, const char *path, uint64_t limit, uint32_t fixed_length);
void trace_free(struct trace *t);
