/* SPDX-License-Identifier: BSD-3-Clause */
/* parse: one request at a time out of a client's bytes, RESP arrays of bulk strings or an inline line, incremental and
 * without copying. Bytes in, slices out; knows no connection and no command. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "src/base/arena.h"
#include "src/base/slice.h"

enum parse_status {
    PARSE_OK,    /* a request; *used bytes belong to it */
    PARSE_EMPTY, /* an empty inline line or *0 / *-1: skip *used bytes, no reply */
    PARSE_MORE,  /* incomplete; need says how many bytes from the start would help, at least */
    PARSE_ERROR  /* protocol error: reply -error and close */
};

struct parse_limits {
    int64_t max_bulk_bytes;   /* proto-max-bulk-len */
    int64_t max_args;         /* INT32_MAX, or 10 before AUTH */
    int64_t max_auth_bulk;    /* 16384 before AUTH, else max_bulk_bytes */
    int64_t max_inline_bytes; /* 64 KiB */
};

struct request {
    int argc;
    struct slice *argv; /* array in the arena; bytes in the input (inline quoting: unquoted copy in the arena) */
    size_t used;        /* PARSE_OK and PARSE_EMPTY: input bytes consumed; else 0 */
    size_t need;        /* PARSE_MORE: total bytes of the request known so far to be needed, 0 unknown */
    const char *error;  /* PARSE_ERROR: "Protocol error: ..." without the ERR prefix; static or in the arena */
};

/* Parses the request at the start of in. resume carries state between calls on a growing input (so that a
 * million-element request is not rescanned from the start for every read): zero it for a new request; the input
 * may move between calls, its content up to the old length may not change. Result slices are borrowed from
 * in and arena. */
struct parse_resume {
    size_t scanned;   /* bytes already looked at */
    int64_t args_left;
    int64_t argc;
    uint32_t phase;
};
enum parse_status parse_request(struct slice in, const struct parse_limits *limits,
                                struct parse_resume *resume, struct arena *arena,
                                struct request *out);
