/* SPDX-License-Identifier: BSD-3-Clause */
/* http_url: URL templates. {key} and {1} stand anywhere behind the host and are percent-encoded but for RFC 3986's unreserved
 * characters (letters, digits, - . _ ~): a '/' of the key is %2F, so that no key can reach another path. */
#pragma once

#include <stdbool.h>

#include "src/base/buf.h"
#include "src/base/slice.h"

enum { HTTP_URL_MAX = 32 << 10 };

/* Whether the template can be used. False with "reason; allowed: ..." in why. */
bool http_url_check(struct slice url, struct buf *why);
/* The URL for a key, NUL-terminated, into out (emptied first). NULL, or why there is none (static text). */
const char *http_url_expand(struct slice url, struct slice key, struct slice first, struct buf *out);
