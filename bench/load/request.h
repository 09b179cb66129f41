/* SPDX-License-Identifier: BSD-3-Clause */
/* request: which key comes next, and the bytes of GET and SET for it. One thread per source. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "src/base/buf.h"

enum key_pattern { KEYS_UNIFORM, KEYS_ZIPF, KEYS_GAUSSIAN, KEYS_SEQUENCE };

/* What is asked for; the zero of each field is not useful, options.c has the defaults. */
struct request_shape {
    enum key_pattern pattern;
    uint64_t keys;       /* numbers 0 .. keys-1 */
    double zipf_exponent;
    unsigned key_size;   /* bytes of "key:" and the number padded with zeros */
    size_t value_size;
    double read_percent; /* GETs among GETs and SETs */
    uint64_t ttl_min_ms; /* SET ... PX with a time from min to max; 0 for none */
    uint64_t ttl_max_ms;
};

/* A stream of requests. */
struct request_source {
    struct request_shape shape;
    uint64_t sequence_next; /* KEYS_SEQUENCE goes round [sequence_start, sequence_end) */
    uint64_t sequence_start;
    uint64_t sequence_end;
    double zeta;
    double eta;
    uint64_t scatter; /* coprime with keys: spreads popular ranks over the key range */
    char *noise;      /* owned: the bytes values are cut from */
};

/* share of shares: the part of the sequence that this source walks. */
void request_source_init(struct request_source *s, const struct request_shape *shape, unsigned share, unsigned shares);
void request_source_fini(struct request_source *s);
/* Appends the next request. */
void request_append(struct request_source *s, struct buf *out);

/* Requests built ahead of time, request i at bytes.p[at[i]] .. at[i + 1]. */
struct request_pool {
    struct buf bytes;
    uint64_t *at;
    uint64_t count;
};

/* Builds count requests. */
void request_pool_init(struct request_pool *pool, struct request_source *s, uint64_t count);
void request_pool_fini(struct request_pool *pool);

enum { NOISE_SLACK = 4096 };
/* n bytes of incompressible noise and NOISE_SLACK more, owned by the caller (mem_free). */
char *request_noise(size_t n);
