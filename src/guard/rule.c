/* SPDX-License-Identifier: BSD-3-Clause */
/* rule: parsing, matching, counting. */
#include "src/guard/rule.h"

#include <stdlib.h>
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
    while (n < pattern.n && memchr("*?[\\", pattern.p[n], 4) == NULL) { /* a NUL is a byte like others */
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
        buf_puts(why, n < 0 ? "unbalanced quotes; allowed: \"...\" or '...' followed by a space"
                            : "no pattern; allowed: PATTERN option=value ...");
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

void rule_docs(struct buf *out) {
    options_docs(option_rows, OPTION_COUNT, out);
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

/* Where the first * of a pattern is, or its end; before: how many bytes of a name what stands before it matches. */
static size_t first_star(struct slice p, size_t *before) {
    size_t i = 0;
    for (*before = 0; i < p.n && p.p[i] != '*'; i++, (*before)++) {
        if (p.p[i] == '\\' && i + 1 < p.n) {
            i++;
        } else if (p.p[i] == '[') {
            while (i < p.n && p.p[i] != ']') {
                i += p.p[i] == '\\' ? 2 : 1;
            }
        }
    }
    return i < p.n ? i : p.n;
}

struct slice rule_capture(const struct rule *rule, struct slice name) {
    struct slice rest = behind_literal(rule, rule->pattern), tail = behind_literal(rule, name);
    size_t before, star = first_star(rest, &before);
    if (star == rest.n) {
        return slice_make("", 0);
    }
    struct slice after = slice_make(rest.p + star + 1, rest.n - star - 1);
    tail = slice_make(tail.p + before, tail.n - before);
    for (size_t n = 0; after.n > 0 && n <= tail.n; n++) {
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
    filter_init(&s->filter);
    return s;
}

static void stats_unref(struct rule_stats *s) {
    if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1) {
        mem_free(s->pattern);
        filter_fini(&s->filter);
        for (unsigned i = 0; i < RULE_STRIPES; i++) {
            mem_free(atomic_load_explicit(&s->stripes[i].latency, memory_order_relaxed));
        }
        mem_free(s->window);
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

/* The stripe's histogram, made for its first call: several loops may come at once. */
static struct hist *make_latency(_Atomic(struct hist *) *place) {
    struct hist *mine = mem_zalloc(sizeof(*mine)), *there = NULL;
    if (atomic_compare_exchange_strong_explicit(place, &there, mine, memory_order_acq_rel, memory_order_acquire)) {
        return mine;
    }
    mem_free(mine);
    return there;
}

void rule_took(const struct rule *rule, unsigned loop, uint64_t ticks) {
    _Atomic(struct hist *) *place = &rule->stats->stripes[loop % RULE_STRIPES].latency;
    struct hist *h = atomic_load_explicit(place, memory_order_acquire);
    hist_count(likely(h != NULL) ? h : make_latency(place), ticks);
}

void rule_latency_read(const struct rule_stats *s, struct hist_sum *sum) {
    for (unsigned i = 0; i < RULE_STRIPES; i++) {
        hist_read(sum, atomic_load_explicit(&s->stripes[i].latency, memory_order_acquire));
    }
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
    return r != NULL ? radix_get(r->patterns, pattern) : NULL;
}

static void add_rule(struct rules *r, struct rule *rule) {
    struct rule *old = radix_get(r->patterns, rule->pattern);
    if (old != NULL) {
        rule->at = old->at;
        rule_free(old);
    } else {
        if ((r->count & (r->count - 1)) == 0) { /* a power of two: full */
            r->list = mem_realloc(r->list, (r->count == 0 ? 1 : 2 * (size_t)r->count) * sizeof(struct rule *));
        }
        rule->at = r->count++;
    }
    r->list[rule->at] = rule;
    radix_put(r->patterns, rule->pattern, rule);
}

static struct slice literal_of(const struct rule *rule) {
    return slice_make(rule->pattern.p, rule->literal);
}

/* By literal prefix, a longer one behind those it begins with; among rules of one prefix in the order they are asked. */
static int by_prefix(const void *pa, const void *pb) {
    const struct rule *a = *(struct rule *const *)pa, *b = *(struct rule *const *)pb;
    size_t n = a->literal < b->literal ? a->literal : b->literal;
    int order = n > 0 ? memcmp(a->pattern.p, b->pattern.p, n) : 0;
    if (order != 0 || a->literal != b->literal) {
        return order != 0 ? order : a->literal < b->literal ? -1 : 1;
    }
    return a->pattern.n != b->pattern.n ? (a->pattern.n > b->pattern.n ? -1 : 1) : a->at < b->at ? -1 : 1;
}

/* Puts the first rule of each prefix into the tree, and links each rule to the one that is asked when its wildcards do not match:
 * the next of its prefix, or the first of the longest prefix within that. */
static void build_tree(struct rules *r) {
    struct rule **sorted = mem_memdup(r->list, r->count * sizeof(struct rule *));
    qsort(sorted, r->count, sizeof(struct rule *), by_prefix);
    r->tree = radix_create();
    for (unsigned i = 0, end; i < r->count; i = end) {
        struct slice literal = literal_of(sorted[i]);
        const struct rule *within = radix_longest(r->tree, literal); /* itself it is not there yet */
        for (end = i + 1; end < r->count && slice_eq(literal_of(sorted[end]), literal); end++) {
            sorted[end - 1]->next = sorted[end];
        }
        sorted[end - 1]->next = within;
        radix_put(r->tree, literal, sorted[i]);
    }
    mem_free(sorted);
}

struct rules *rules_create(const char *lines, const struct rules *before) {
    struct rules *r = mem_zalloc(sizeof(*r));
    struct buf why = {0};
    struct slice line;
    atomic_init(&r->refs, 1);
    r->patterns = radix_create();
    while (next_line(&lines, &line)) {
        struct rule *rule = rule_parse(line, &why);
        CHECK(rule != NULL);
        add_rule(r, rule);
    }
    buf_free(&why);
    if (r->count == 0) {
        radix_destroy(&r->patterns);
        mem_free(r);
        return NULL;
    }
    for (unsigned i = 0; i < r->count; i++) {
        const struct rule *old = rules_find(before, r->list[i]->pattern);
        r->filters += r->list[i]->opt.filter != FILTER_OFF;
        r->writes += r->list[i]->opt.write != WRITE_OFF;
        r->quotas += r->list[i]->opt.quota_bytes != 0;
        r->packs += r->list[i]->opt.compress != COMPRESS_NONE;
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
    radix_destroy(&r->patterns);
    mem_free(r->list);
    mem_free(r);
}

/* The key of that name is the rule's filter. */
static bool is_filter_of(const struct rule *rule, struct slice name) {
    return rule->opt.filter != FILTER_OFF && slice_eq(rule->pattern, name);
}

const struct rule *rules_match(const struct rules *r, struct slice name) {
    const struct rule *rule = r != NULL ? radix_longest(r->tree, name) : NULL;
    while (rule != NULL && !rest_matches(rule, name)) {
        rule = rule->next;
    }
    return rule != NULL && unlikely(is_filter_of(rule, name)) ? NULL : rule;
}

const struct rule *rules_filtered_by(const struct rules *r, struct slice name) {
    const struct rule *rule = r != NULL ? radix_longest(r->tree, name) : NULL;
    while (rule != NULL && !is_filter_of(rule, name)) {
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
