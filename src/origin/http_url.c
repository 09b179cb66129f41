/* SPDX-License-Identifier: BSD-3-Clause */
/* http_url: checks URL templates and fills them in. */
#include "src/origin/http_url.h"

#include <curl/curl.h>

/* ---- filling in ---- */

static bool is_unreserved(unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~';
}

static void put_encoded(struct buf *out, struct slice s) {
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (is_unreserved(c)) {
            buf_putc(out, (char)c);
        } else {
            char three[3] = {'%', hex[c >> 4], hex[c & 15]};
            buf_put(out, three, sizeof(three));
        }
    }
}

static bool starts_with(struct slice s, const char *word) {
    return s.n >= strlen(word) && memcmp(s.p, word, strlen(word)) == 0;
}

static struct slice skip(struct slice s, size_t n) {
    return slice_make(s.p + n, s.n - n);
}

/* Where the authority (user, host, port) begins and what follows it. False when there is no "scheme://". */
static bool split(struct slice url, struct slice *authority, struct slice *behind) {
    const char *colon = memchr(url.p, ':', url.n);
    size_t n = colon != NULL ? (size_t)(colon - url.p) : 0;
    if (colon == NULL || !starts_with(skip(url, n), "://")) {
        return false;
    }
    *authority = skip(url, n + 3);
    size_t end = 0;
    while (end < authority->n && strchr("/?#", authority->p[end]) == NULL) {
        end++;
    }
    *behind = skip(*authority, end);
    authority->n = end;
    return true;
}

/* "/a/../b" and "/a/." would be another path than the one that is written. */
static bool has_dot_segment(struct slice path) {
    size_t start = 0;
    for (size_t i = 0; i <= path.n; i++) {
        if (i == path.n || path.p[i] == '/' || path.p[i] == '?') {
            struct slice segment = slice_make(path.p + start, i - start);
            if (slice_eq(segment, SLICE(".")) || slice_eq(segment, SLICE(".."))) {
                return true;
            }
            if (i == path.n || path.p[i] == '?') {
                return false;
            }
            start = i + 1;
        }
    }
    return false;
}

const char *http_url_expand(struct slice url, struct slice key, struct slice first, struct buf *out) {
    struct slice authority, behind, rest = url;
    buf_clear(out);
    if (key.n > HTTP_URL_MAX || first.n > HTTP_URL_MAX) {
        return "key too long for a URL";
    }
    while (rest.n > 0 && out->n <= HTTP_URL_MAX) {
        if (starts_with(rest, "{key}")) {
            put_encoded(out, key);
            rest = skip(rest, strlen("{key}"));
        } else if (starts_with(rest, "{1}")) {
            put_encoded(out, first);
            rest = skip(rest, strlen("{1}"));
        } else {
            buf_putc(out, rest.p[0]);
            rest = skip(rest, 1);
        }
    }
    if (out->n > HTTP_URL_MAX) {
        return "key too long for a URL";
    }
    if (split(buf_slice(out), &authority, &behind) && has_dot_segment(behind)) {
        return "key is no part of a path";
    }
    buf_putc(out, '\0');
    return NULL;
}

/* ---- checking ---- */

static bool refuse(struct buf *why, struct slice url, const char *reason, const char *allowed) {
    buf_printf(why, "'%.*s': %s; allowed: %s", SLICE_ARG(url), reason, allowed);
    return false;
}

/* {key} and {1} at least once, and no other brace. */
static bool check_places(struct slice url, struct slice behind, struct buf *why) {
    bool any = false;
    while (behind.n > 0) {
        size_t n = starts_with(behind, "{key}") ? strlen("{key}") : starts_with(behind, "{1}") ? strlen("{1}") : 0;
        any = any || n > 0;
        if (n == 0 && (behind.p[0] == '{' || behind.p[0] == '}')) {
            return refuse(why, url, "a brace that begins neither", "{key} and {1}");
        }
        behind = skip(behind, n > 0 ? n : 1);
    }
    return any ? true : refuse(why, url, "the same for every key", "{key} or {1} in the path or the query");
}

bool http_url_check(struct slice url, struct buf *why) {
    struct slice authority, behind;
    for (size_t i = 0; i < url.n; i++) {
        unsigned char c = (unsigned char)url.p[i];
        if (c <= ' ' || c >= 127 || c == '#' || c == '\\') {
            return refuse(why, url, "a blank, '#', '\\' or a byte that is not ASCII", "such bytes percent-encoded");
        }
    }
    if (!split(url, &authority, &behind) || authority.n == 0) {
        return refuse(why, url, "no host", "http://HOST[:PORT]/PATH");
    }
    if (memchr(authority.p, '{', authority.n) != NULL) {
        return refuse(why, url, "a key may not choose the host", "{key} and {1} in the path or the query");
    }
    if (url.n > HTTP_URL_MAX / 2) {
        return refuse(why, SLICE("..."), "too long a URL", "16 kB");
    }
    if (!check_places(url, behind, why)) {
        return false;
    }
    if (has_dot_segment(behind)) {
        return refuse(why, url, "a '.' or '..' in the path", "the path it stands for");
    }
    struct buf sample = {0};
    CURLU *parsed = curl_url();
    bool ok = http_url_expand(url, SLICE("k"), SLICE("k"), &sample) == NULL;
    CURLUcode e = ok && parsed != NULL ? curl_url_set(parsed, CURLUPART_URL, sample.p, CURLU_PATH_AS_IS) : CURLUE_BAD_HANDLE;
    curl_url_cleanup(parsed);
    buf_free(&sample);
    return e == CURLUE_OK ? true : refuse(why, url, curl_url_strerror(e), "http://HOST[:PORT]/PATH");
}
