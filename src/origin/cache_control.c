/* SPDX-License-Identifier: BSD-3-Clause */
/* cache_control: reads the headers that say how long an HTTP reply may be kept. */
#include "src/origin/cache_control.h"

#include <curl/curl.h>

/* Larger numbers mean this one (RFC 9111, 1.2.2). */
#define SECONDS_MAX INT64_C(2147483648)

static bool is_space(char c) {
    return c == ' ' || c == '\t';
}

static struct slice trim(struct slice s) {
    while (s.n > 0 && is_space(s.p[0])) {
        s = slice_make(s.p + 1, s.n - 1);
    }
    while (s.n > 0 && is_space(s.p[s.n - 1])) {
        s.n--;
    }
    return s;
}

/* Digits, perhaps quoted. False when it is anything else. */
static bool parse_seconds(struct slice s, int64_t *out) {
    if (s.n >= 2 && s.p[0] == '"' && s.p[s.n - 1] == '"') {
        s = slice_make(s.p + 1, s.n - 2);
    }
    int64_t v = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') {
            return false;
        }
        v = v * 10 + (s.p[i] - '0');
        v = v < SECONDS_MAX ? v : SECONDS_MAX;
    }
    *out = v;
    return s.n > 0;
}

/* The first one counts; what cannot be read is 0. */
static void take_seconds(struct slice value, bool *has, int64_t *out) {
    if (!*has) {
        *has = true;
        *out = 0;
        (void)parse_seconds(value, out);
    }
}

static void take_directive(struct cache_headers *h, struct slice name, struct slice value) {
    if (slice_eqi(name, "no-store") || slice_eqi(name, "no-cache") || slice_eqi(name, "private")) {
        h->forbidden = true;
    } else if (slice_eqi(name, "must-revalidate") || slice_eqi(name, "proxy-revalidate")) {
        h->revalidate = true;
    } else if (slice_eqi(name, "s-maxage")) {
        take_seconds(value, &h->has_shared, &h->shared_s);
    } else if (slice_eqi(name, "max-age")) {
        take_seconds(value, &h->has_max, &h->max_s);
    } else if (slice_eqi(name, "stale-while-revalidate")) {
        take_seconds(value, &h->has_stale, &h->stale_s);
    } else if (slice_eqi(name, "stale-if-error")) {
        take_seconds(value, &h->has_error, &h->error_s);
    }
}

/* The next of the directives, without its comma; commas within quotes do not part. */
static struct slice next_directive(struct slice *rest) {
    size_t n = 0;
    bool quoted = false;
    for (; n < rest->n && (quoted || rest->p[n] != ','); n++) {
        if (quoted && rest->p[n] == '\\' && n + 1 < rest->n) {
            n++;
        } else if (rest->p[n] == '"') {
            quoted = !quoted;
        }
    }
    struct slice one = slice_make(rest->p, n);
    n += n < rest->n;
    *rest = slice_make(rest->p + n, rest->n - n);
    return trim(one);
}

static void take_cache_control(struct cache_headers *h, struct slice value) {
    while (value.n > 0) {
        struct slice one = next_directive(&value);
        const char *eq = one.n > 0 ? memchr(one.p, '=', one.n) : NULL;
        size_t n = eq != NULL ? (size_t)(eq - one.p) : one.n;
        size_t behind = eq != NULL ? n + 1 : n;
        take_directive(h, trim(slice_make(one.p, n)), trim(slice_make(one.p + behind, one.n - behind)));
    }
}

/* Any of HTTP's three forms of a date; false for what is none, such as the "0" and "-1" that mean long ago. */
static bool parse_date(struct slice s, int64_t *out) {
    char text[64];
    if (s.n >= sizeof(text) || memchr(s.p, ':', s.n) == NULL) {
        return false;
    }
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    *out = (int64_t)curl_getdate(text, NULL);
    return *out != -1;
}

void cache_header(struct cache_headers *h, struct slice name, struct slice value) {
    value = trim(value);
    if (slice_eqi(name, "cache-control")) {
        take_cache_control(h, value);
    } else if (slice_eqi(name, "age")) {
        take_seconds(value, &h->has_age, &h->age_s);
    } else if (slice_eqi(name, "expires") && !h->has_expires) {
        h->has_expires = true;
        if (value.n == 0 || !parse_date(value, &h->expires_s)) {
            h->expires_s = INT64_MIN;
        }
    } else if (slice_eqi(name, "date") && !h->has_date) {
        h->has_date = value.n > 0 && parse_date(value, &h->date_s);
    }
}

/* Seconds it is fresh from now on, or -1 when nothing says so. */
static int64_t fresh_seconds(const struct cache_headers *h, int64_t now_ms) {
    int64_t s;
    if (h->forbidden) {
        return 0;
    }
    if (h->has_shared) {
        s = h->shared_s;
    } else if (h->has_max) {
        s = h->max_s;
    } else if (h->has_expires) {
        int64_t from = h->has_date ? h->date_s : now_ms / 1000;
        s = h->expires_s > from ? h->expires_s - from : 0;
        s = s < SECONDS_MAX ? s : SECONDS_MAX;
    } else {
        return -1;
    }
    int64_t age = h->has_age ? h->age_s : 0;
    return s > age ? s - age : 0;
}

static int64_t said_ms(bool has, int64_t seconds) {
    return has ? seconds * 1000 : -1;
}

struct lifetime cache_lifetime(const struct cache_headers *h, int64_t now_ms) {
    int64_t fresh = fresh_seconds(h, now_ms);
    if (fresh == 0) {
        return (struct lifetime){0};
    }
    return (struct lifetime){
        .ttl_ms = said_ms(fresh > 0, fresh),
        .stale_ms = h->revalidate ? 0 : said_ms(h->has_stale, h->stale_s),
        .error_ms = h->revalidate ? 0 : said_ms(h->has_error, h->error_s),
    };
}
