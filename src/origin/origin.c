/* SPDX-License-Identifier: BSD-3-Clause */
/* origin: the configured origins, their common loop and thread, and what INFO says of them. */
#include <strings.h>

#include "src/base/check.h"
#include "src/base/mem.h"
#include "src/conf/row.h"
#include "src/origin/origin_int.h"

enum { MAX_NAME = 64, ORIGIN_LOOP_ID = 1 << 20 /* beyond any worker's */ };

/* ---- tables ---- */

static const struct row option_rows[] = {
#define OPTION(k, field, nm, d, lo, hi, text) {KIND_##k, nm, d, lo, hi, 0, NULL, text, offsetof(struct origin_options, field)},
#define OPTION_ENUM(field, nm, d, ch, text) {KIND_ENUM, nm, d, 0, 0, 0, ch, text, offsetof(struct origin_options, field)},
#include "src/origin/options.def"
#undef OPTION
#undef OPTION_ENUM
};
enum { OPTION_COUNT = sizeof(option_rows) / sizeof(option_rows[0]) };

static const struct origin_driver *const drivers[] = {
#define DRIVER(variable, doc) &variable,
#include "src/origin/drivers.def"
#undef DRIVER
};
enum { DRIVER_COUNT = sizeof(drivers) / sizeof(drivers[0]) };

/* The scheme of url among the driver's, as it is spelled there; empty when it is none of them. */
static struct slice scheme_of(const struct origin_driver *d, struct slice url) {
    const char *colon = memchr(url.p, ':', url.n);
    size_t n = colon != NULL ? (size_t)(colon - url.p) : 0;
    for (const char *p = d->schemes; n > 0 && *p != '\0';) {
        size_t len = strcspn(p, " ");
        if (len == n && strncasecmp(p, url.p, n) == 0) {
            return slice_make(p, n);
        }
        p += len;
        p += *p == ' ';
    }
    return slice_make("", 0);
}

const struct origin_driver *driver_of(struct slice url) {
    for (unsigned i = 0; i < DRIVER_COUNT; i++) {
        if (scheme_of(drivers[i], url).n > 0) {
            return drivers[i];
        }
    }
    return NULL;
}

/* ---- a line ---- */

/* `NAME URL [option=value ...]`, taken apart. */
struct line {
    struct slice name, url;
    const struct origin_driver *driver;
    struct origin_options options;
    struct buf bytes; /* what name and url point into */
};

static bool name_is_good(struct slice name) {
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!alnum && c != '-' && c != '_' && c != '.') {
            return false;
        }
    }
    return name.n > 0 && name.n <= MAX_NAME;
}

static void print_schemes(const struct origin_driver *d, struct buf *out) {
    for (const char *p = d->schemes; *p != '\0';) {
        size_t len = strcspn(p, " ");
        buf_printf(out, " %.*s:", (int)len, p);
        p += len;
        p += *p == ' ';
    }
}

void origin_docs(struct buf *out) {
    options_docs(option_rows, OPTION_COUNT, out);
}

void origin_print_writers(struct buf *out) {
    for (unsigned i = 0; i < DRIVER_COUNT; i++) {
        if (drivers[i]->writes) {
            print_schemes(drivers[i], out);
        }
    }
}

static bool parse_words(struct line *l, const struct slice *words, int n, struct buf *why) {
    if (n < 2) {
        buf_puts(why, n < 0 ? "unbalanced quotes; allowed: " : "too few words; allowed: ");
        buf_puts(why, "NAME URL [option=value ...]");
        return false;
    }
    l->name = words[0];
    l->url = words[1];
    l->driver = driver_of(l->url);
    if (!name_is_good(l->name)) {
        buf_printf(why, "'%.*s': not a name; allowed: 1 to %d letters, digits, '-', '_' and '.'", SLICE_ARG(l->name), MAX_NAME);
        return false;
    }
    if (l->driver == NULL) {
        buf_printf(why, "'%.*s': not an origin's URL; allowed: those that begin with", SLICE_ARG(l->url));
        for (unsigned i = 0; i < DRIVER_COUNT; i++) {
            print_schemes(drivers[i], why);
        }
        return false;
    }
    return options_parse(&l->options, option_rows, OPTION_COUNT, words + 2, n - 2, why);
}

/* line_free in either case. */
static bool line_parse(struct line *l, struct slice text, struct buf *why) {
    struct slice words[MAX_WORDS];
    *l = (struct line){0};
    rows_init(&l->options, option_rows, OPTION_COUNT);
    return parse_words(l, words, split_words(text, &l->bytes, words), why);
}

static void line_free(struct line *l) {
    rows_free(&l->options, option_rows, OPTION_COUNT);
    buf_free(&l->bytes);
}

static void nothing(void *ctx) {
    (void)ctx;
}

bool origin_check(struct slice text, struct buf *why) {
    struct line l;
    bool ok = line_parse(&l, text, why);
    if (ok) {
        void *self = l.driver->open(l.url, &l.options, NULL, NULL, why);
        ok = self != NULL;
        if (ok) {
            l.driver->close(self, nothing, NULL);
        }
    }
    line_free(&l);
    return ok;
}

/* The next line of *lines that is not empty; false at the end. */
static bool next_line(const char **lines, struct slice *out) {
    const char *p = *lines;
    while (*p == '\n' || *p == ' ') {
        p++;
    }
    *out = slice_make(p, strcspn(p, "\n"));
    *lines = p + out->n;
    return out->n > 0;
}

/* *driver: of the origin, when its line is whole. */
static bool find_line(const char *lines, struct slice name, const struct origin_driver **driver) {
    struct slice words[MAX_WORDS], text;
    bool found = false;
    *driver = NULL;
    while (!found && next_line(&lines, &text)) {
        struct buf bytes = {0};
        int n = split_words(text, &bytes, words);
        found = n > 0 && slice_eq(words[0], name);
        *driver = found && n > 1 ? driver_of(words[1]) : NULL;
        buf_free(&bytes);
    }
    return found;
}

bool origin_named(const char *lines, struct slice name) {
    const struct origin_driver *driver;
    return find_line(lines, name, &driver);
}

bool origin_writes(const char *lines, struct slice name) {
    const struct origin_driver *driver;
    return find_line(lines, name, &driver) && driver != NULL && driver->writes;
}

/* ---- life ---- */

static void origin_free(struct origin *o) {
    requests_fini(o);
    rows_free(&o->options, option_rows, OPTION_COUNT);
    mem_free(o->name);
    mem_free(o);
}

static bool add_origin(struct origins *all, struct slice text, struct buf *err) {
    struct line l;
    bool ok = line_parse(&l, text, err);
    if (ok && origins_find(all, l.name) != NULL) {
        buf_printf(err, "'%.*s': given twice; allowed: once", SLICE_ARG(l.name));
        ok = false;
    }
    if (ok) {
        struct origin *o = mem_zalloc(sizeof(*o));
        o->name = mem_strdup(l.name.p);
        o->driver = l.driver;
        o->scheme = scheme_of(l.driver, l.url);
        o->options = l.options;
        rows_copy(&o->options, option_rows, OPTION_COUNT);
        o->options.max_value = l.options.max_value < all->max_value ? l.options.max_value : all->max_value;
        o->origins = all;
        o->loop = all->loop;
        requests_init(o);
        all->list = mem_realloc(all->list, (all->count + 1) * sizeof(struct origin *));
        all->list[all->count++] = o;
        o->self = o->driver->open(l.url, &o->options, all->loop, &o->conns, err);
        ok = o->self != NULL;
    }
    line_free(&l);
    return ok;
}

struct origins *origins_create(const char *lines, int64_t max_value, struct buf *err) {
    static const struct loop_ops ops = {0};
    struct origins *all = mem_zalloc(sizeof(*all));
    struct slice text;
    bool ok = true;
    all->most = INT64_MAX;
    all->max_value = max_value;
    all->loop = loop_create(ORIGIN_LOOP_ID, "origins", &ops, all);
    while (ok && next_line(&lines, &text)) {
        ok = add_origin(all, text, err);
    }
    loop_start(all->loop);
    if (!ok) {
        origins_destroy(&all);
    }
    return all;
}

static void origin_closed(void *ctx) {
    struct origin *o = ctx;
    o->self = NULL;
    if (--o->origins->open == 0) {
        loop_stop(o->loop);
    }
}

static void stop_here(struct loop *loop, struct msg *msg) {
    struct origins *all = LIST_ENTRY(msg, struct origins, stop_msg);
    all->open = all->count + 1;
    for (unsigned i = 0; i < all->count; i++) {
        struct origin *o = all->list[i];
        requests_close(o, "shutting down");
        if (o->self != NULL) {
            o->driver->close(o->self, origin_closed, o);
        } else {
            all->open--; /* the one that could not be opened */
        }
    }
    if (--all->open == 0) {
        loop_stop(loop);
    }
}

void origins_stop(struct origins *all) {
    if (!all->stopped) {
        all->stopped = true;
        all->stop_msg.run = stop_here;
        loop_post(all->loop, &all->stop_msg);
        loop_join(all->loop);
    }
}

void origins_destroy(struct origins **o) {
    struct origins *all = *o;
    *o = NULL;
    if (all == NULL) {
        return;
    }
    origins_stop(all);
    loop_destroy(&all->loop); /* runs what was submitted meanwhile */
    for (unsigned i = 0; i < all->count; i++) {
        origin_free(all->list[i]);
    }
    mem_free(all->list);
    mem_free(all);
}

/* ---- asking ---- */

void origins_bound(struct origins *o, int64_t most) {
    o->most = most;
}

struct origin *origins_find(struct origins *all, struct slice name) {
    for (unsigned i = 0; i < all->count; i++) {
        if (slice_eq(slice_cstr(all->list[i]->name), name)) {
            return all->list[i];
        }
    }
    return NULL;
}

const char *origin_name(const struct origin *o) {
    return o->name;
}

bool origin_takes(const struct origin *o, enum value_type type) {
    return o->driver->writes && (type == TYPE_STRING || !o->driver->strings_only);
}

bool origin_is_down(const struct origin *o) {
    return atomic_load_explicit(&o->down, memory_order_relaxed);
}

/* Microseconds that 99 of 100 answers took no longer than, to the next power of two. */
static uint64_t latency_p99(struct origin_stats *s) {
    uint64_t all = 0, below = 0;
    for (int i = 0; i < LATENCY_BUCKETS; i++) {
        all += STAT_GET(s->latency[i]);
    }
    for (int i = 0; i < LATENCY_BUCKETS; i++) {
        below += STAT_GET(s->latency[i]);
        if (all > 0 && below * 100 >= all * 99) {
            return (uint64_t)1 << i;
        }
    }
    return 0;
}

static void info_errors(struct origin *o, struct buf *out) {
    char sep = ':';
    for (int i = 0; i < ERROR_KINDS; i++) {
        uint64_t count = STAT_GET(o->stats.errors[i].count);
        const char *text = atomic_load_explicit(&o->stats.errors[i].text, memory_order_relaxed);
        if (count > 0) {
            if (sep == ':') {
                buf_printf(out, "origin_%s_errors", o->name);
            }
            buf_printf(out, "%c%s=%llu", sep, text != NULL ? text : "other", (unsigned long long)count);
            sep = ',';
        }
    }
    if (sep == ',') {
        buf_puts(out, "\r\n");
    }
}

/* What INFO and the JSON say of an origin besides its name: these numbers, in this order, and its latencies. */
static const struct {
    const char *name;
    size_t offset; /* in struct origin_stats */
} number_rows[] = {
    {"in_flight", offsetof(struct origin_stats, in_flight)},
    {"queued", offsetof(struct origin_stats, queued)},
#define COUNTER(name) {#name, offsetof(struct origin_stats, name)},
    ORIGIN_COUNTERS(COUNTER)
#undef COUNTER
};

/* Each between what comes before its name, behind it, and behind its value. */
static void put_numbers(struct origin *o, const char *before, const char *is, struct buf *out) {
    for (size_t i = 0; i < sizeof(number_rows) / sizeof(number_rows[0]); i++) {
        const stat_t *n = (const stat_t *)((const char *)&o->stats + number_rows[i].offset);
        buf_printf(out, "%s%s%s%llu", before, number_rows[i].name, is, (unsigned long long)STAT_GET(*n));
    }
}

/* The same of microseconds that answers took, with what stands between two of them. */
static void put_latencies(struct origin *o, const char *before, const char *is, const char *between, struct buf *out) {
    static const char *const names[] = {"mean", "p99", "max"};
    struct origin_stats *s = &o->stats;
    uint64_t answers = STAT_GET(s->latency_count);
    uint64_t us[] = {answers > 0 ? STAT_GET(s->latency_us_sum) / answers : 0, latency_p99(s), STAT_GET(s->latency_us_max)};
    for (int i = 0; i < 3; i++) {
        buf_printf(out, "%s%s%s%s%llu", i > 0 ? between : "", before, names[i], is, (unsigned long long)us[i]);
    }
}

static const char *state_of(struct origin *o) {
    return breaker_state_name((enum breaker_state)STAT_GET(o->stats.state));
}

void origins_info(struct origins *all, struct buf *out) {
    for (unsigned i = 0; i < all->count; i++) {
        struct origin *o = all->list[i];
        buf_printf(out, "origin_%s:driver=%.*s,state=%s", o->name, SLICE_ARG(o->scheme), state_of(o));
        put_numbers(o, ",", "=", out);
        put_latencies(o, ",latency_us_", "=", "", out);
        buf_puts(out, "\r\n");
        info_errors(o, out);
    }
}

void origins_numbers(struct origins *all, struct tier_numbers *out) {
    for (unsigned i = 0; i < all->count; i++) {
        struct origin_stats *s = &all->list[i]->stats;
        out->promotions += STAT_GET(s->found);
        out->negative += STAT_GET(s->absent);
        out->fills += STAT_GET(s->written);
        for (unsigned k = 0; k < REJECT_REASONS; k++) {
            out->rejects[k] += STAT_GET(s->rejects[k]);
        }
    }
}

void origins_json(struct origins *all, struct buf *out) {
    for (unsigned i = 0; i < all->count; i++) {
        struct origin *o = all->list[i];
        buf_printf(out, "%s{\"name\":\"%s\",\"driver\":\"%.*s\",\"state\":\"%s\"", i > 0 ? "," : "", o->name, SLICE_ARG(o->scheme), state_of(o));
        put_numbers(o, ",\"", "\":", out);
        buf_puts(out, ",\"latency_us\":{");
        put_latencies(o, "\"", "\":", ",", out);
        buf_puts(out, "}}");
    }
}

void origins_conns(const struct origins *all, void (*fn)(void *ctx, const char *name, const struct conn_numbers *n), void *ctx) {
    for (unsigned i = 0; i < all->count; i++) {
        struct conn_numbers n = {0};
        conn_numbers_add(&n, &all->list[i]->conns);
        fn(ctx, all->list[i]->name, &n);
    }
}

void origins_load(const struct origins *all, uint64_t *in_flight, uint64_t *queued) {
    *in_flight = *queued = 0;
    for (unsigned i = 0; i < all->count; i++) {
        *in_flight += STAT_GET(all->list[i]->stats.in_flight);
        *queued += STAT_GET(all->list[i]->stats.queued);
    }
}
