/* SPDX-License-Identifier: BSD-3-Clause */
/* json: writes JSON into a buffer; commas are its business. Names are the program's own and are not escaped. No lock. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "src/base/buf.h"
#include "src/base/slice.h"

struct json {
    struct buf *out;
    bool more; /* a member was written at this level: the next needs a comma */
};

/* name NULL: an element of an array, or the outermost value. kind '{' or '['. */
void json_open(struct json *j, const char *name, char kind);
void json_close(struct json *j, char kind); /* '}' or ']' */
void json_u64(struct json *j, const char *name, uint64_t v);
void json_i64(struct json *j, const char *name, int64_t v);
/* Six digits; what is no number becomes null. */
void json_double(struct json *j, const char *name, double v);
void json_bool(struct json *j, const char *name, bool v);
/* Any bytes: what is not UTF-8 is written as the character of the same number, so that the text is always valid. */
void json_text(struct json *j, const char *name, struct slice text);
void json_cstr(struct json *j, const char *name, const char *text);
/* A member whose text the caller appends to j->out itself, whole. */
void json_name(struct json *j, const char *name);

/* Length of the UTF-8 character at p, of at most n bytes; 0 when there is none. */
size_t utf8_len(const char *p, size_t n);
