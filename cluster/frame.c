/* SPDX-License-Identifier: BSD-3-Clause */
/* frame: heads of frames, written and read. */
#include "cluster/frame.h"

#include <stddef.h>
#include <string.h>

enum { PARTS = 1, WHOLE = 2 };

struct frame_row {
    const char *name;
    uint32_t most;
    uint8_t how; /* 0: no such frame */
};

static const struct frame_row rows[FRAME_TYPES] = {
#define FRAME(name, number, most, how, doc) [number] = {#name, most, how},
#include "cluster/frames.def"
#undef FRAME
};

static void put_number(char *p, uint64_t v, unsigned bytes) {
    for (unsigned i = 0; i < bytes; i++) {
        p[i] = (char)(v >> (8 * i));
    }
}

static uint64_t get_number(const char *p, unsigned bytes) {
    uint64_t v = 0;
    for (unsigned i = 0; i < bytes; i++) {
        v |= (uint64_t)(unsigned char)p[i] << (8 * i);
    }
    return v;
}

void frame_put(struct buf *b, const struct frame *f) {
    char *p = buf_reserve(b, FRAME_HEAD);
    p[0] = 'S';
    p[1] = 't';
    p[2] = (char)f->type;
    p[3] = (char)f->flags;
    put_number(p + 4, f->length, 4);
    put_number(p + 8, f->channel, 4);
    put_number(p + 12, f->tag, 4);
    put_number(p + 16, f->ring, 8);
    buf_commit(b, FRAME_HEAD);
}

bool frame_get(const char *p, struct frame *f) {
    unsigned type = (unsigned char)p[2];
    if (p[0] != 'S' || p[1] != 't' || frame_name(type) == NULL) {
        return false;
    }
    *f = (struct frame){.type = (uint8_t)type,
                        .flags = (uint8_t)p[3],
                        .length = (uint32_t)get_number(p + 4, 4),
                        .channel = (uint32_t)get_number(p + 8, 4),
                        .tag = (uint32_t)get_number(p + 12, 4),
                        .ring = get_number(p + 16, 8)};
    return f->length <= rows[type].most;
}

bool frame_has_parts(unsigned type) {
    return type < FRAME_TYPES && rows[type].how == PARTS;
}

const char *frame_name(unsigned type) {
    return type < FRAME_TYPES ? rows[type].name : NULL;
}
