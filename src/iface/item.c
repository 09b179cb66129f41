/* SPDX-License-Identifier: BSD-3-Clause */
/* item: what guards note, as bytes. */
#include "src/iface/item.h"

#include <string.h>

enum { HAS_GRACE = 1, HAS_LOAD = 2, HAS_STAMP = 4, HAS_TAGS = 8, IS_RESTING = ITEM_EXTRA_RESTING, IS_PASSING = 32, HAS_LENT = 64, HAS_ERROR = 128, KNOWN = 255 };

static size_t put32(unsigned char *out, size_t at, uint32_t v) {
    memcpy(out + at, &v, 4);
    return at + 4;
}

static size_t put64(unsigned char *out, size_t at, int64_t v) {
    memcpy(out + at, &v, 8);
    return at + 8;
}

size_t item_extra_put(const struct item_extra *e, unsigned char *out) {
    size_t at = 1;
    out[0] = (unsigned char)((e->grace_ms ? HAS_GRACE : 0) | (e->load_ms ? HAS_LOAD : 0) | (e->stamp ? HAS_STAMP : 0) |
                             (e->tags ? HAS_TAGS : 0) | (e->resting ? IS_RESTING : 0) | (e->passing ? IS_PASSING : 0) |
                             (e->lent_ms ? HAS_LENT : 0) | (e->error_ms ? HAS_ERROR : 0));
    at = e->grace_ms ? put32(out, at, e->grace_ms) : at;
    at = e->error_ms ? put32(out, at, e->error_ms) : at;
    at = e->load_ms ? put32(out, at, e->load_ms) : at;
    at = e->stamp ? put32(out, at, e->stamp) : at;
    at = e->lent_ms ? put64(out, put64(out, at, e->lent_ms), e->own_ms) : at;
    if (e->tags > 0) {
        out[at++] = e->tags;
        memcpy(out + at, e->tag, e->tags * sizeof(e->tag[0]));
        at += e->tags * sizeof(e->tag[0]);
    }
    return out[0] == 0 ? 0 : at;
}

/* Takes a number when the flag is there; false when the bytes end before. */
static bool take32(struct slice *b, bool there, uint32_t *v) {
    if (!there) {
        return true;
    }
    if (b->n < 4) {
        return false;
    }
    memcpy(v, b->p, 4);
    *b = slice_make(b->p + 4, b->n - 4);
    return true;
}

static bool take64(struct slice *b, bool there, int64_t *v) {
    if (there && b->n >= 8) {
        memcpy(v, b->p, 8);
        *b = slice_make(b->p + 8, b->n - 8);
        return true;
    }
    return !there;
}

bool item_extra_get(struct slice bytes, struct item_extra *e) {
    memset(e, 0, offsetof(struct item_extra, tag));
    if (bytes.n == 0) {
        return true;
    }
    unsigned flags = (unsigned char)bytes.p[0];
    struct slice b = slice_make(bytes.p + 1, bytes.n - 1);
    bool ok = (flags & ~(unsigned)KNOWN) == 0 && take32(&b, flags & HAS_GRACE, &e->grace_ms) &&
              take32(&b, flags & HAS_ERROR, &e->error_ms) && take32(&b, flags & HAS_LOAD, &e->load_ms) && take32(&b, flags & HAS_STAMP, &e->stamp) &&
              take64(&b, flags & HAS_LENT, &e->lent_ms) && take64(&b, flags & HAS_LENT, &e->own_ms);
    e->resting = flags & IS_RESTING;
    e->passing = flags & IS_PASSING;
    if (ok && flags & HAS_TAGS) {
        size_t n = b.n > 0 ? (unsigned char)b.p[0] : 0;
        ok = n > 0 && n <= ITEM_MAX_TAGS && b.n == 1 + n * sizeof(e->tag[0]);
        if (ok) {
            e->tags = (uint8_t)n;
            memcpy(e->tag, b.p + 1, n * sizeof(e->tag[0]));
        }
    } else {
        ok &= b.n == 0;
    }
    if (!ok) {
        memset(e, 0, offsetof(struct item_extra, tag));
    }
    return ok;
}

int64_t item_own_deadline(int64_t expire_ms, const struct item_extra *e) {
    return e->lent_ms != 0 && e->lent_ms == expire_ms ? e->own_ms : expire_ms;
}
