/* SPDX-License-Identifier: BSD-3-Clause */
/* redis_url: redis://[[user]:password@]host[:port][/db], user and password with %XX. */
#pragma once

#include <stdint.h>

#include "src/base/buf.h"
#include "src/base/slice.h"

struct redis_url {
    struct buf user, password;
    struct buf host; /* ends with a zero byte */
    int64_t port, db;
    bool has_db;
};

/* NULL, or what is wrong, a static text. Either way u is to be freed. */
const char *redis_url_parse(struct slice text, struct redis_url *u);
void redis_url_free(struct redis_url *u);
