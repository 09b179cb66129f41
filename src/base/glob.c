/* SPDX-License-Identifier: BSD-3-Clause */
/* glob: matching with one point of return (the last star), so never more than pattern x text steps and no recursion. */
#include "src/base/glob.h"

#include <ctype.h>

static int fold(char c, bool nocase) {
    return nocase ? tolower((unsigned char)c) : (unsigned char)c;
}

/* Matches c against the class behind '[' at *pp; leaves *pp behind the closing bracket (or at the end). */
static bool class_matches(const char **pp, const char *end, char c, bool nocase) {
    const char *p = *pp;
    bool negate = p < end && *p == '^', match = false;
    p += negate;
    for (;; p++) {
        if (p >= end) {
            p = end; /* an unclosed class ends with the pattern */
            break;
        }
        if (*p == '\\' && end - p >= 2) {
            p++;
            match |= *p == c;
        } else if (*p == ']') {
            p++;
            break;
        } else if (end - p >= 3 && p[1] == '-') {
            int lo = fold(p[0], nocase), hi = fold(p[2], nocase), x = fold(c, nocase);
            match |= lo <= hi ? x >= lo && x <= hi : x >= hi && x <= lo;
            p += 2;
        } else {
            match |= fold(*p, nocase) == fold(c, nocase);
        }
    }
    *pp = p;
    return match != negate;
}

/* One pattern element other than a star against one byte. */
static bool one_matches(const char **pp, const char *end, char c, bool nocase) {
    const char *p = *pp;
    if (*p == '?') {
        *pp = p + 1;
        return true;
    }
    if (*p == '[') {
        *pp = p + 1;
        return class_matches(pp, end, c, nocase);
    }
    if (*p == '\\' && end - p >= 2) {
        p++;
    }
    *pp = p + 1;
    return fold(*p, nocase) == fold(c, nocase);
}

bool glob_match(struct slice pattern, struct slice s, bool nocase) {
    const char *p = pattern.p, *p_end = p + pattern.n, *t = s.p, *t_end = t + s.n;
    const char *star = NULL, *star_text = NULL;
    while (t < t_end) {
        if (p < p_end && *p == '*') {
            star = ++p;
            star_text = t;
            continue;
        }
        const char *next = p;
        if (p < p_end && one_matches(&next, p_end, *t, nocase)) {
            p = next;
            t++;
            continue;
        }
        if (star == NULL) {
            return false;
        }
        p = star; /* let the last star take one more byte */
        t = ++star_text;
    }
    while (p < p_end && *p == '*') {
        p++;
    }
    return p == p_end;
}
