/* SPDX-License-Identifier: BSD-3-Clause */
/* rule: parsing, matching, counting. */
#include "src/guard/rule.h"

#include <string.h>

#include "src/base/check.h"
#include "src/base/glob.h"
#include "src/base/mem.h"
#include "src/conf/row.h"
#include "src/ds/radix.h"

static const struct row option_rows[] = {
#define OPTION(kind, field, nm, d, lo, hi, words, text) \
    {KIND_##kind, nm, d, lo, hi, 0, words, text, offsetof(struct rule_options, field)},
#define OPTION_ENUM(field, nm, d, ch, text) {KIND_ENUM, nm, d, 0, 0, 0, ch, text, offsetof(struct rule_options, field)},
#include "src/guard/rule.def"
#undef OPTION
#undef OPTION_ENUM
};
enum { OPTION_COUNT = sizeof(option_rows) / sizeof(option_rows[0]) };

/* ---- one rule ---- */

static size_t literal_length(struct slice pattern) {
    size_t n = 0;
    while (n < pattern.n && strchr("*?[\\", pattern.p[n]) == NULL) {
        n++;
    }
    return n;
}

static void rule_free(struct rule *rule) {
    rows_free(&rule->opt, option_rows, OPTION_COUNT);
    mem_free((char *)(uintptr_t)rule->pattern.p);
    mem_free(rule);
}

/* What several options together must not say. */
static bool agrees(const struct rule_options *o, struct buf *why) {
    bool origin = o->origin[0] != '\0';
    const char *text = NULL;
    if (!origin && (o->negative_ms != 0 || o->write != WRITE_OFF || o->ttl_ms < 0)) {
        text = "negative-ttl, write and ttl=origin need an origin; allowed: origin=NAME";
    } else if (origin && o->wait_ms != 0) {
        text = "wait is for clients that load by themselves; allowed: origin or wait, not both";
    }
    if (text != NULL) {
        buf_puts(why, text);
    }
    return text == NULL;
}

static struct rule *rule_parse(struct slice line, struct buf *why) {
    struct slice words[MAX_WORDS];
    struct buf bytes = {0};
    int n = split_words(line, &bytes, words);
    struct rule *rule = mem_zalloc(sizeof(*rule));
    rows_init(&rule->opt, option_rows, OPTION_COUNT);
    bool ok = n >= 1;
    if (!ok) {
        buf_puts(why, "no pattern; allowed: PATTERN option=value ...");
    }
    ok = ok && options_parse(&rule->opt, option_rows, OPTION_COUNT, words + 1, n - 1, why) && agrees(&rule->opt, why);
    if (ok) {
        rule->pattern = slice_make(mem_memdup(words[0].p, words[0].n), words[0].n);
        rule->literal = literal_length(rule->pattern);
    }
    buf_free(&bytes);
    if (!ok) {
        rule_free(rule);
        return NULL;
    }
    return rule;
}

bool rule_check(struct slice line, struct buf *why) {
    struct rule *rule = rule_parse(line, why);
    if (rule != NULL) {
        rule_free(rule);
    }
    return rule != NULL;
}

void rule_print(const struct rule *rule, struct buf *out) {
    options_print(&rule->opt, option_rows, OPTION_COUNT, out);
}

static struct slice behind_literal(const struct rule *rule, struct slice s) {
    return slice_make(s.p + rule->literal, s.n - rule->literal);
}

static bool rest_matches(const struct rule *rule, struct slice name) {
    struct slice rest = behind_literal(rule, rule->pattern);
    if (rest.n == 1 && rest.p[0] == '*') {
        return true;
    }
    return rest.n == 0 ? name.n == rule->literal : glob_match(rest, behind_literal(rule, name), false);
}

struct slice rule_capture(const struct rule *rule, struct slice name) {
    struct slice rest = behind_literal(rule, rule->pattern), tail = behind_literal(rule, name);
    if (rest.n == 0) {
        return slice_make("", 0);
    }
    struct slice after = slice_make(rest.p + 1, rest.n - 1);
    for (size_t n = 0; n < tail.n && rest.n > 1 && rest.p[0] == '*'; n++) {
        if (glob_match(after, slice_make(tail.p + n, tail.n - n), false)) {
            return slice_make(tail.p, n);
        }
    }
    return tail;
}

/* ---- counters ---- */

static struct rule_stats *stats_create_for(struct slice pattern) {
    struct rule_stats *s = mem_zalloc(sizeof(*s));
    atomic_init(&s->refs, 1);
    s->pattern = mem_alloc(pattern.n + 1);
    memcpy(s->pattern, pattern.p, pattern.n);
    s->pattern[pattern.n] = '\0';
    return s;
}

static void stats_unref(struct rule_stats *s) {
    if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1) {
        mem_free(s->pattern);
        mem_free((void *)atomic_load_explicit(&s->ends, memory_order_relaxed));
        mem_free(s);
    }
}

uint64_t rule_count_read(const struct rule_stats *s, enum rule_counter c) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < RULE_STRIPES; i++) {
        sum += atomic_load_explicit(&s->stripes[i].n[c], memory_order_relaxed);
    }
    return sum;
}

/* ---- the set ---- */

/* The next line of a text, without its end; false behind the last. */
static bool next_line(const char **text, struct slice *line) {
    while (**text == '\n') {
        (*text)++;
    }
    size_t n = strcspn(*text, "\n");
    *line = slice_make(*text, n);
    *text += n;
    return n > 0;
}

const struct rule *rules_find(const struct rules *r, struct slice pattern) {
    for (unsigned i = 0; r != NULL && i < r->count; i++) {
        if (slice_eq(r->list[i]->pattern, pattern)) {
            return r->list[i];
        }
    }
    return NULL;
}

static void add_rule(struct rules *r, struct rule *rule) {
    for (unsigned i = 0; i < r->count; i++) {
        if (slice_eq(r->list[i]->pattern, rule->pattern)) {
            rule_free(r->list[i]);
            r->list[i] = rule;
            return;
        }
    }
    r->list = mem_realloc(r->list, (r->count + 1) * sizeof(struct rule *));
    r->list[r->count++] = rule;
}

/* Among rules whose literal prefixes are prefixes of one another: which is asked first. */
static bool goes_first(const struct rule *a, const struct rule *b) {
    return a->literal != b->literal ? a->literal > b->literal : a->pattern.n > b->pattern.n;
}

/* Links each rule to the one that is asked when its wildcards do not match, and puts the first of each prefix into the tree. */
static void build_tree(struct rules *r) {
    r->tree = radix_create();
    for (unsigned i = 0; i < r->count; i++) {
        struct rule *rule = r->list[i];
        struct slice literal = slice_make(rule->pattern.p, rule->literal);
        const struct rule *first = radix_get(r->tree, literal);
        if (first == NULL || goes_first(rule, first)) {
            radix_put(r->tree, literal, rule);
        }
        for (unsigned k = 0; k < r->count; k++) {
            const struct rule *other = r->list[k];
            bool shorter = other != rule && goes_first(rule, other) &&
                           slice_starts(literal, slice_make(other->pattern.p, other->literal));
            if (shorter && (rule->next == NULL || goes_first(other, rule->next))) {
                rule->next = other;
            }
        }
    }
}

struct rules *rules_create(const char *lines, const struct rules *before) {
    struct rules *r = mem_zalloc(sizeof(*r));
    struct buf why = {0};
    struct slice line;
    atomic_init(&r->refs, 1);
    while (next_line(&lines, &line)) {
        struct rule *rule = rule_parse(line, &why);
        CHECK(rule != NULL);
        add_rule(r, rule);
    }
    buf_free(&why);
    if (r->count == 0) {
        mem_free(r);
        return NULL;
    }
    for (unsigned i = 0; i < r->count; i++) {
        const struct rule *old = rules_find(before, r->list[i]->pattern);
        r->list[i]->stats = old != NULL ? old->stats : stats_create_for(r->list[i]->pattern);
        if (old != NULL) {
            atomic_fetch_add_explicit(&old->stats->refs, 1, memory_order_relaxed);
        }
    }
    build_tree(r);
    return r;
}

void rules_bind(struct rules *r, void *(*find)(void *ctx, struct slice origin), void *ctx) {
    for (unsigned i = 0; i < r->count; i++) {
        const char *origin = r->list[i]->opt.origin;
        r->list[i]->target = origin[0] != '\0' ? find(ctx, slice_cstr(origin)) : NULL;
    }
}

struct rules *rules_ref(struct rules *r) {
    if (r != NULL) {
        atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
    }
    return r;
}

void rules_unref(struct rules *r) {
    if (r == NULL || atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    for (unsigned i = 0; i < r->count; i++) {
        stats_unref(r->list[i]->stats);
        rule_free(r->list[i]);
    }
    radix_destroy(&r->tree);
    mem_free(r->list);
    mem_free(r);
}

const struct rule *rules_match(const struct rules *r, struct slice name) {
    const struct rule *rule = r != NULL ? radix_longest(r->tree, name) : NULL;
    while (rule != NULL && !rest_matches(rule, name)) {
        rule = rule->next;
    }
    return rule;
}

void rules_edit(const char *lines, struct slice pattern, struct slice line, struct buf *out) {
    struct slice old;
    while (next_line(&lines, &old)) {
        struct slice words[MAX_WORDS];
        struct buf bytes = {0};
        int n = split_words(old, &bytes, words);
        if (n > 0 && !slice_eq(words[0], pattern)) {
            buf_put_slice(out, old);
            buf_putc(out, '\n');
        }
        buf_free(&bytes);
    }
    buf_put_slice(out, line);
}
