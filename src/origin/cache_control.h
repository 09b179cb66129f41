/* SPDX-License-Identifier: BSD-3-Clause */
/* cache_control: the lifetime that the headers of an HTTP reply give it (RFC 9111, RFC 5861), as a shared cache reads them. Pure.
 *
 *   no-store, no-cache, private              ttl 0: must not be kept
 *   s-maxage, else max-age, else Expires     ttl, less Age; what cannot be read counts as 0
 *   stale-while-revalidate, stale-if-error   stale, error
 *   must-revalidate, proxy-revalidate        stale 0, error 0: never stale
 *
 * Of a directive given twice the first one counts. Where ttl is 0, so are the others. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "src/origin/origin.h"

/* What was read so far; zero-initialised is nothing. Seconds where a bool of has says so. */
struct cache_headers {
    bool forbidden;  /* must not be kept */
    bool revalidate; /* must not be served stale */
    bool has_shared, has_max, has_stale, has_error, has_age, has_expires, has_date;
    int64_t shared_s, max_s, stale_s, error_s, age_s;
    int64_t expires_s, date_s; /* since 1970 */
};

/* Notes one header; others than Cache-Control, Expires, Date and Age are ignored. */
void cache_header(struct cache_headers *h, struct slice name, struct slice value);
/* What they say together; now_ms: wall clock, for Expires without Date. */
struct lifetime cache_lifetime(const struct cache_headers *h, int64_t now_ms);
