/* SPDX-License-Identifier: BSD-3-Clause */
/* request: which key comes next, and the bytes of GET and SET for it. */
#include "bench/load/request.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "src/base/mem.h"
#include "src/base/rng.h"

static uint64_t gcd(uint64_t a, uint64_t b) {
    while (b != 0) {
        uint64_t t = a % b;
        a = b;
        b = t;
    }
    return a;
}

static double uniform01(void) {
    return (double)(rng_u64() >> 11) * 0x1p-53;
}

/* Sum of 1/i^s over the ranks: one pass at start, 0.1 s for five million keys. */
static void zipf_init(struct request_source *s) {
    double e = s->shape.zipf_exponent;
    double n = (double)s->shape.keys;
    for (uint64_t i = 1; i <= s->shape.keys; i++) {
        s->zeta += pow((double)i, -e);
    }
    double zeta2 = 1 + pow(2, -e);
    s->eta = (1 - pow(2 / n, 1 - e)) / (1 - zeta2 / s->zeta);
}

/* The approximation of Gray et al., "Quickly generating billion-record synthetic databases", 1994. */
static uint64_t zipf_rank(const struct request_source *s) {
    double e = s->shape.zipf_exponent;
    double u = uniform01();
    double uz = u * s->zeta;
    if (uz < 1) {
        return 0;
    }
    if (uz < 1 + pow(0.5, e)) {
        return 1;
    }
    uint64_t rank = (uint64_t)((double)s->shape.keys * pow(s->eta * u - s->eta + 1, 1 / (1 - e)));
    return rank < s->shape.keys ? rank : s->shape.keys - 1;
}

/* Around the middle with a deviation of a sixth of the range; what falls outside is drawn again. */
static uint64_t gaussian(uint64_t keys) {
    for (;;) {
        double r = sqrt(-2 * log(1 - uniform01())) * cos(2 * M_PI * uniform01());
        double x = (double)keys * (0.5 + r / 6);
        if (x >= 0 && x < (double)keys) {
            return (uint64_t)x;
        }
    }
}

static uint64_t key_next(struct request_source *s) {
    uint64_t keys = s->shape.keys;
    switch (s->shape.pattern) {
    case KEYS_ZIPF:
        return (uint64_t)((unsigned __int128)zipf_rank(s) * s->scatter % keys);
    case KEYS_GAUSSIAN:
        return gaussian(keys);
    case KEYS_SEQUENCE: {
        uint64_t key = s->sequence_next;
        s->sequence_next = s->sequence_next + 1 < s->sequence_end ? s->sequence_next + 1 : s->sequence_start;
        return key;
    }
    default:
        return rng_below(keys);
    }
}

char *request_noise(size_t n) {
    char *noise = mem_alloc(n + NOISE_SLACK + 8);
    for (size_t i = 0; i < n + NOISE_SLACK; i += 8) {
        uint64_t bits = rng_u64();
        memcpy(noise + i, &bits, 8);
    }
    return noise;
}

void request_source_init(struct request_source *s, const struct request_shape *shape, unsigned share, unsigned shares) {
    *s = (struct request_source){.shape = *shape};
    s->sequence_start = s->sequence_next = shape->keys * share / shares;
    s->sequence_end = shape->keys * (share + 1) / shares;
    s->scatter = 0x9E3779B97F4A7C15;
    while (gcd(s->scatter, shape->keys) != 1) {
        s->scatter += 2;
    }
    if (shape->pattern == KEYS_ZIPF) {
        zipf_init(s);
    }
    s->noise = request_noise(shape->value_size);
}

void request_source_fini(struct request_source *s) {
    mem_free(s->noise);
    s->noise = NULL;
}

static void set_append(struct request_source *s, struct buf *out, uint64_t key, int digits) {
    const struct request_shape *shape = &s->shape;
    bool ttl = shape->ttl_max_ms > 0;
    buf_printf(out, "*%d\r\n$3\r\nSET\r\n$%u\r\nkey:%0*llu\r\n$%zu\r\n", ttl ? 5 : 3, shape->key_size, digits,
               (unsigned long long)key, shape->value_size);
    buf_put(out, s->noise + rng_below(NOISE_SLACK), shape->value_size);
    if (!ttl) {
        buf_put(out, "\r\n", 2);
        return;
    }
    char text[24];
    uint64_t ms = shape->ttl_min_ms + rng_below(shape->ttl_max_ms - shape->ttl_min_ms + 1);
    int n = snprintf(text, sizeof(text), "%llu", (unsigned long long)ms);
    buf_printf(out, "\r\n$2\r\nPX\r\n$%d\r\n%s\r\n", n, text);
}

void request_append(struct request_source *s, struct buf *out) {
    const struct request_shape *shape = &s->shape;
    uint64_t key = key_next(s);
    int digits = (int)shape->key_size - 4;
    if (shape->read_percent < 100 && uniform01() * 100 >= shape->read_percent) {
        set_append(s, out, key, digits);
        return;
    }
    buf_printf(out, "*2\r\n$3\r\nGET\r\n$%u\r\nkey:%0*llu\r\n", shape->key_size, digits, (unsigned long long)key);
}

void request_pool_init(struct request_pool *pool, struct request_source *s, uint64_t count) {
    *pool = (struct request_pool){.count = count};
    pool->at = mem_alloc((count + 1) * sizeof(*pool->at));
    for (uint64_t i = 0; i < count; i++) {
        pool->at[i] = pool->bytes.n;
        request_append(s, &pool->bytes);
    }
    pool->at[count] = pool->bytes.n;
}

void request_pool_fini(struct request_pool *pool) {
    buf_free(&pool->bytes);
    mem_free(pool->at);
    pool->at = NULL;
}
