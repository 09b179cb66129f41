/* SPDX-License-Identifier: BSD-3-Clause */
/* syntax: a recursive reader of syntax texts, whose nesting the rows bound. */
#include "src/cmd/syntax.h"

#include <ctype.h>
#include <string.h>

#include "src/resp/reply.h"

/* The text between brackets or alternatives. */
struct span {
    const char *p, *end;
};

static struct span trim(struct span s) {
    while (s.p < s.end && *s.p == ' ') {
        s.p++;
    }
    while (s.end > s.p && s.end[-1] == ' ') {
        s.end--;
    }
    return s;
}

/* The next item at this level: a bracketed group or a word. */
static struct span next_item(struct span *s) {
    *s = trim(*s);
    struct span item = {s->p, s->p};
    int depth = 0;
    while (item.end < s->end && (depth > 0 || (*item.end != ' ' && *item.end != '|'))) {
        depth += (*item.end == '[') - (*item.end == ']');
        item.end++;
    }
    s->p = item.end;
    return item;
}

/* Splits at the top level's bars; the part before the first. */
static struct span next_choice(struct span *s) {
    struct span part = {s->p, s->p};
    int depth = 0;
    while (part.end < s->end && (depth > 0 || *part.end != '|')) {
        depth += (*part.end == '[') - (*part.end == ']');
        part.end++;
    }
    s->p = part.end < s->end ? part.end + 1 : part.end;
    return trim(part);
}

static bool has_choice(struct span s) {
    next_choice(&s);
    return s.p < s.end;
}

static bool is_token(struct span s) {
    bool upper = false;
    for (const char *p = s.p; p < s.end; p++) {
        if (islower((unsigned char)*p)) {
            return false;
        }
        upper |= isupper((unsigned char)*p) != 0;
    }
    return upper;
}

static struct slice text_of(struct span s) {
    return slice_make(s.p, (size_t)(s.end - s.p));
}

static const char *type_of(struct span name) {
    static const struct {
        const char *part, *type;
    } rules[] = {{"key", "key"}, {"pattern", "pattern"}, {"unix-time", "unix-time"}, {"increment", "integer"}, {"decrement", "integer"},
                 {"seconds", "integer"}, {"milliseconds", "integer"}, {"count", "integer"}, {"offset", "integer"}, {"start", "integer"},
                 {"end", "integer"}, {"index", "integer"}, {"cursor", "integer"}, {"db", "integer"}, {"timeout", "integer"},
                 {"num", "integer"}, {"bit", "integer"}};
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        if (memmem(name.p, (size_t)(name.end - name.p), rules[i].part, strlen(rules[i].part)) != NULL) {
            return rules[i].type;
        }
    }
    return "string";
}

static void reply_flags(struct out *o, bool optional, bool multiple) {
    if (optional || multiple) {
        reply_bulk_cstr(o, "flags");
        reply_array(o, optional + multiple);
        if (optional) {
            reply_status(o, "optional");
        }
        if (multiple) {
            reply_status(o, "multiple");
        }
    }
}

static void reply_sequence(struct out *o, struct span s);

static void reply_leaf(struct out *o, struct span name, struct span token, bool optional, bool multiple) {
    bool pure = name.p == name.end;
    struct span shown = pure ? token : name;
    bool has_token = token.p < token.end;
    reply_map(o, 2 + (!pure) + has_token + (optional || multiple));
    reply_bulk_cstr(o, "name");
    char lower[64];
    size_t n = 0;
    for (const char *p = shown.p; p < shown.end && n < sizeof(lower); p++) {
        lower[n++] = (char)tolower((unsigned char)*p);
    }
    reply_bulk(o, slice_make(lower, n));
    reply_bulk_cstr(o, "type");
    reply_bulk_cstr(o, pure ? "pure-token" : type_of(name));
    if (!pure) {
        reply_bulk_cstr(o, "display_text");
        reply_bulk(o, text_of(name));
    }
    if (has_token) {
        reply_bulk_cstr(o, "token");
        reply_bulk(o, text_of(token));
    }
    reply_flags(o, optional, multiple);
}

static void reply_group(struct out *o, struct span s, bool choice, bool optional, bool multiple) {
    reply_map(o, 3 + (optional || multiple));
    reply_bulk_cstr(o, "name");
    reply_bulk_cstr(o, choice ? "condition" : "data");
    reply_bulk_cstr(o, "type");
    reply_bulk_cstr(o, choice ? "oneof" : "block");
    reply_flags(o, optional, multiple);
    reply_bulk_cstr(o, "arguments");
    reply_sequence(o, s);
}

/* [x ...] behind an x means that x repeats. */
static bool take_repeat(struct span *s) {
    struct span look = *s, item = next_item(&look);
    size_t n = (size_t)(item.end - item.p);
    if (n > 4 && item.p[0] == '[' && memmem(item.p, n, "...]", 4) != NULL) {
        *s = look;
        return true;
    }
    return false;
}

/* One argument at the front of s, within optional brackets or not. */
static void reply_item(struct out *o, struct span *s, bool optional) {
    struct span item = next_item(s), none = {item.end, item.end};
    if (*item.p == '[') {
        struct span inner = trim((struct span){item.p + 1, item.end - 1}), rest = inner;
        bool choice = has_choice(inner);
        struct span first = next_item(&rest);
        bool token = is_token(first);
        struct span second = trim(rest);
        if (!choice && second.p == second.end) {
            reply_leaf(o, token ? none : first, token ? first : none, true, false);
        } else if (!choice && token && memchr(second.p, ' ', (size_t)(second.end - second.p)) == NULL) {
            reply_leaf(o, second, first, true, false);
        } else if (!choice && !token && take_repeat(&rest)) {
            reply_leaf(o, first, none, true, true);
        } else {
            reply_group(o, inner, choice, true, false);
        }
        return;
    }
    if (is_token(item)) {
        struct span look = *s, value = next_item(&look);
        if (value.p < value.end && !is_token(value) && *value.p != '[') {
            *s = look;
            reply_leaf(o, value, item, optional, false);
        } else {
            reply_leaf(o, none, item, optional, false);
        }
        return;
    }
    reply_leaf(o, item, none, optional, take_repeat(s));
}

static void reply_sequence(struct out *o, struct span s) {
    struct reply_deferred d = reply_defer(o, '*');
    int64_t n = 0;
    if (has_choice(s)) {
        while (s.p < s.end) {
            struct span part = next_choice(&s);
            reply_item(o, &part, false);
            n++;
        }
    } else {
        for (s = trim(s); s.p < s.end; s = trim(s)) {
            reply_item(o, &s, false);
            n++;
        }
    }
    reply_defer_end(o, d, n);
}

void syntax_reply(struct out *o, const char *syntax) {
    reply_sequence(o, (struct span){syntax, syntax + strlen(syntax)});
}
