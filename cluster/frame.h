/* SPDX-License-Identifier: BSD-3-Clause */
/* frame: what peers say to each other is a row of frames.def behind a head of 24 bytes, little endian:
 *
 *   0 magic "St"  2 type  3 flags  4 payload bytes  8 channel  12 tag  16 version of the sender's ring
 *
 * Every head carries the ring's version, so that a node that has missed a change hears of it with the next byte it gets. Bytes only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "src/base/buf.h"

enum { FRAME_HEAD = 24, FRAME_PROTOCOL = 4 /* of the whole conversation */ };

enum frame_type {
#define FRAME(name, number, most, how, doc) FRAME_##name = number,
#include "cluster/frames.def"
#undef FRAME
    FRAME_TYPES = 64
};

enum frame_flags {
    CALL_QUIET = 1,  /* no reply is wanted: it sets the session's state for the call behind it */
    CALL_NODE = 4,   /* the node itself asks, not a client of it: keys are handed over */
    CALL_GUTTER = 2, /* the slot's owner is silent: whoever gets this stands in for it */
    CALL_NEAR = 8,   /* the reply will be kept if that is allowed (KEEP), until it is said to have changed (CHANGED) */
    REPLY_WRONG = 1  /* not run: by its ring, the callee serves none of the keys */
};

struct frame {
    uint8_t type, flags;
    uint32_t length, channel, tag;
    uint64_t ring;
};

/* A head, for `length` bytes of payload to follow. */
void frame_put(struct buf *b, const struct frame *f);
/* Reads a head out of FRAME_HEAD bytes. False: no head, an unknown type, or longer than its row allows. */
bool frame_get(const char *p, struct frame *f);
/* Handed on in parts as it arrives, however long. */
bool frame_has_parts(unsigned type);
/* "CALL", or NULL. */
const char *frame_name(unsigned type);
