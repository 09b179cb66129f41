/* SPDX-License-Identifier: BSD-3-Clause */
/* json_read: just enough of it to read what etcd's gateway answers: values are slices of the text, found without a tree. Depth is bounded; what is not JSON is
 * nothing found. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "src/base/buf.h"
#include "src/base/slice.h"

/* Bytes of the value at the front, space before it included; 0: it is not whole, -1: it is none. */
int64_t json_measure(struct slice text);
/* The raw value of a member of an object ({"name": value}); false: no object, or no such member. */
bool json_get(struct slice object, const char *name, struct slice *value);
/* The same through several: names separated by dots. */
bool json_path(struct slice object, const char *path, struct slice *value);
/* Takes the next item off an array; begin with the array itself. False at the end. */
bool json_next(struct slice *array, struct slice *item);
/* A string without escapes, as base64 and numbers are; false: none. Borrowed. */
bool json_plain(struct slice value, struct slice *out);
/* A number, or a string that holds one, as the gateway writes 64 bits. */
bool json_int(struct slice value, int64_t *out);

/* Base64 with padding. Decoding is strict. */
void base64_put(struct slice bytes, struct buf *out);
bool base64_get(struct slice text, struct buf *out);
