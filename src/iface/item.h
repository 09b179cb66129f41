/* SPDX-License-Identifier: BSD-3-Clause */
/* item: a key's value as tiers hand it to one another. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "src/base/slice.h"
#include "src/value/value.h"

struct blob;

/* What a reader sees of an item of the memory tier: borrowed while its shard is locked and the key not written. */
struct item_view {
    enum value_type type;
    bool raw;            /* a string that reports encoding "raw" whatever its bytes */
    struct slice str;    /* TYPE_STRING: its bytes */
    struct blob *blob;   /* TYPE_STRING longer than the inline limit: where str lives; else NULL */
    struct value *value; /* other types */
    bool read;           /* on a walk: read since it came, as far as the policy knows */
    int64_t expire_ms;   /* absolute wall-clock milliseconds, or -1 */
};
