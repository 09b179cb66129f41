/* SPDX-License-Identifier: BSD-3-Clause */
/* rows: the directives as data: parse, print, check. */
#include "src/conf/rows.h"

#include <arpa/inet.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#include "src/base/check.h"
#include "src/base/mem.h"
#include "src/base/num.h"

const struct row conf_rows[] = {
#define SECTION(title) {.kind = KIND_SECTION, .name = title},
#define CONF(k, field, nm, d, lo, hi, fl, text)                                                    \
    {KIND_##k, nm, d, lo, hi, fl, NULL, text, offsetof(struct conf, field)},
#define CONF_ENUM(field, nm, d, ch, fl, text)                                                      \
    {KIND_ENUM, nm, d, 0, 0, fl, ch, text, offsetof(struct conf, field)},
#include "src/conf/directives.def"
#undef SECTION
#undef CONF
#undef CONF_ENUM
};
const unsigned conf_row_count = sizeof(conf_rows) / sizeof(conf_rows[0]);

const struct no_effect_row no_effect_rows[] = {
#define NO_EFFECT(nm, d) {nm, d},
#include "src/conf/no_effect.def"
#undef NO_EFFECT
};
const unsigned no_effect_count = sizeof(no_effect_rows) / sizeof(no_effect_rows[0]);

/* Older names of the same directive. */
static const char *const aliases[][2] = {
    {"hash-max-ziplist-entries", "hash-max-listpack-entries"},
    {"hash-max-ziplist-value", "hash-max-listpack-value"},
};

const struct row *row_find(struct slice name) {
    for (unsigned i = 0; i < sizeof(aliases) / sizeof(aliases[0]); i++) {
        if (slice_eqi(name, aliases[i][0])) {
            name = slice_cstr(aliases[i][1]);
        }
    }
    for (unsigned i = 0; i < conf_row_count; i++) {
        if (conf_rows[i].kind != KIND_SECTION && slice_eqi(name, conf_rows[i].name)) {
            return &conf_rows[i];
        }
    }
    return NULL;
}

int no_effect_find(struct slice name) {
    for (unsigned i = 0; i < no_effect_count; i++) {
        if (slice_eqi(name, no_effect_rows[i].name)) {
            return (int)i;
        }
    }
    return -1;
}

/* ---- values ---- */

static void *field_of(const void *base, const struct row *row) {
    return (char *)(uintptr_t)base + row->offset;
}

bool conf_parse_size(struct slice s, int64_t *out) {
    static const struct {
        const char *unit;
        int64_t times;
    } units[] = {{"", 1},          {"b", 1},           {"k", 1000},       {"kb", 1024},
                 {"m", 1000000},   {"mb", 1 << 20},    {"g", 1000000000}, {"gb", 1 << 30},
                 {"t", 1000000000000LL}, {"tb", 1LL << 40}};
    size_t digits = 0;
    while (digits < s.n && ((s.p[digits] >= '0' && s.p[digits] <= '9') || (digits == 0 && s.p[0] == '-'))) {
        digits++;
    }
    int64_t v;
    if (!num_parse_i64(slice_make(s.p, digits), &v)) {
        return false;
    }
    struct slice unit = slice_make(s.p + digits, s.n - digits);
    for (unsigned i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (slice_eqi(unit, units[i].unit)) {
            return !__builtin_mul_overflow(v, units[i].times, out);
        }
    }
    return false;
}

/* A number with an optional unit of time, in milliseconds; plain numbers are in plain_ms. */
static bool parse_duration(struct slice s, int64_t plain_ms, int64_t *out) {
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    size_t digits = 0;
    while (digits < s.n && s.p[digits] >= '0' && s.p[digits] <= '9') {
        digits++;
    }
    int64_t v;
    if (!num_parse_i64(slice_make(s.p, digits), &v)) {
        return false;
    }
    struct slice unit = slice_make(s.p + digits, s.n - digits);
    if (unit.n == 0) {
        return !__builtin_mul_overflow(v, plain_ms, out);
    }
    for (unsigned i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (slice_eqi(unit, units[i].unit)) {
            return !__builtin_mul_overflow(v, units[i].ms, out);
        }
    }
    return false;
}

static bool parse_bool(struct slice s, bool *out) {
    if (slice_eqi(s, "yes") || slice_eqi(s, "on")) {
        *out = true;
        return true;
    }
    *out = false;
    return slice_eqi(s, "no") || slice_eqi(s, "off");
}

/* The index of a word in a list of words, -1 when it is none. */
static int choice_index(const char *choices, struct slice s) {
    int i = 0;
    for (const char *p = choices; *p != '\0'; i++) {
        size_t n = strcspn(p, " ");
        if (n == s.n && strncasecmp(p, s.p, n) == 0) {
            return i;
        }
        p += n;
        p += *p == ' ';
    }
    return -1;
}

static struct slice choice_at(const char *choices, int index) {
    const char *p = choices;
    for (; index > 0; index--) {
        p += strcspn(p, " ") + 1;
    }
    return slice_make(p, strcspn(p, " "));
}

void row_allowed(const struct row *row, struct buf *out) {
    switch (row->kind) {
    case KIND_BOOL:
        buf_puts(out, "yes or no");
        return;
    case KIND_ENUM:
        buf_printf(out, "one of: %s", row->choices);
        return;
    case KIND_STR:
    case KIND_LINES:
        buf_puts(out, "text");
        return;
    case KIND_PERCENT:
        buf_printf(out, "a share from %g%% to %g%%", (double)row->min / 10000, (double)row->max / 10000);
        if (row->choices != NULL) {
            buf_printf(out, ", or %s", row->choices);
        }
        return;
    case KIND_SIZE:
        buf_printf(out, "bytes from %lld to %lld, with k, kb, m, mb, g, gb", (long long)row->min,
                   (long long)row->max);
        return;
    case KIND_DUR_MS:
    case KIND_DUR_S:
        buf_printf(out, "a time from %lld to %lld %s, with ms, s, m, h, d", (long long)row->min,
                   (long long)row->max, row->kind == KIND_DUR_S ? "seconds" : "milliseconds");
        if (row->choices != NULL) {
            buf_printf(out, ", or %s", row->choices);
        }
        return;
    default:
        buf_printf(out, "a number from %lld to %lld", (long long)row->min, (long long)row->max);
    }
}

static bool refuse(const struct row *row, const char *reason, struct buf *why) {
    buf_printf(why, "%s; allowed: ", reason);
    row_allowed(row, why);
    return false;
}

/* "10%", "0.5%", or the word that means -1. */
static bool parse_percent(const struct row *row, struct slice text, int64_t *v) {
    double d;
    if (row->choices != NULL && slice_eqi(text, row->choices)) {
        *v = -1;
        return true;
    }
    if (text.n < 2 || text.p[text.n - 1] != '%' || !num_parse_double(slice_make(text.p, text.n - 1), &d) || d < 0 || d > 1e6) {
        return false;
    }
    *v = (int64_t)(d * 10000 + 0.5);
    return true;
}

static bool parse_number(const struct row *row, struct slice text, int64_t *v) {
    switch (row->kind) {
    case KIND_SIZE:
        if (slice_eqi(text, row->def) && slice_eqi(text, "auto")) {
            *v = -1;
            return true;
        }
        if (row->min < 0 && text.n > 1 && text.p[text.n - 1] == '%') {
            bool ok = num_parse_i64(slice_make(text.p, text.n - 1), v) && *v >= 0;
            *v = -*v;
            return ok;
        }
        return conf_parse_size(text, v);
    case KIND_DUR_S:
        if (!parse_duration(text, 1000, v)) {
            return false;
        }
        *v /= 1000;
        return true;
    case KIND_DUR_MS:
        if (row->choices != NULL && slice_eqi(text, row->choices)) {
            *v = -1;
            return true;
        }
        return parse_duration(text, 1, v);
    case KIND_PERCENT:
        return parse_percent(row, text, v);
    default:
        return num_parse_i64(text, v);
    }
}

static bool is_text(const struct row *row) {
    return row->kind == KIND_STR || row->kind == KIND_LINES;
}

bool row_parse(void *base, const struct row *row, struct slice text, struct buf *why) {
    void *field = field_of(base, row);
    if (row->kind == KIND_BOOL) {
        return parse_bool(text, field) ? true : refuse(row, "not a switch", why);
    }
    if (row->kind == KIND_ENUM) {
        int i = choice_index(row->choices, text);
        if (i < 0) {
            return refuse(row, "unknown word", why);
        }
        *(int *)field = i;
        return true;
    }
    if (is_text(row)) {
        char *copy = mem_alloc(text.n + 1);
        memcpy(copy, text.p, text.n);
        copy[text.n] = '\0';
        mem_free(*(char **)field);
        *(char **)field = copy;
        return true;
    }
    int64_t v;
    if (!parse_number(row, text, &v)) {
        return refuse(row, "not a number of that form", why);
    }
    bool is_auto = v == -1 && ((row->kind == KIND_SIZE && slice_eqi(row->def ? slice_cstr(row->def) : text, "auto")) ||
                               (row->kind != KIND_SIZE && row->choices != NULL));
    if (!is_auto && (v < row->min || v > row->max)) {
        return refuse(row, "out of range", why);
    }
    *(int64_t *)field = v;
    return true;
}

/* The largest unit that divides it. */
static void print_duration(int64_t ms, struct buf *out) {
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
    unsigned i = 0;
    while (ms % units[i].ms != 0 || (ms == 0 && i < 3)) {
        i++;
    }
    buf_printf(out, "%lld%s", (long long)(ms / units[i].ms), units[i].unit);
}

void row_print(const void *base, const struct row *row, struct buf *out) {
    void *field = field_of(base, row);
    switch (row->kind) {
    case KIND_BOOL:
        buf_puts(out, *(bool *)field ? "yes" : "no");
        return;
    case KIND_ENUM:
        buf_put_slice(out, choice_at(row->choices, *(int *)field));
        return;
    case KIND_STR:
    case KIND_LINES:
        buf_puts(out, *(char **)field);
        return;
    case KIND_PERCENT:
        if (*(int64_t *)field < 0) {
            buf_puts(out, row->choices);
        } else {
            buf_printf(out, "%g%%", (double)*(int64_t *)field / 10000);
        }
        return;
    default:
        if (row->kind == KIND_SIZE && *(int64_t *)field < 0) {
            buf_printf(out, "%lld%%", -(long long)*(int64_t *)field);
            return;
        }
        buf_printf(out, "%lld", (long long)*(int64_t *)field);
    }
}

void rows_init(void *base, const struct row *rows, unsigned count) {
    struct buf why = {0};
    for (unsigned i = 0; i < count; i++) {
        CHECK(rows[i].kind == KIND_SECTION || row_parse(base, &rows[i], slice_cstr(rows[i].def), &why));
    }
    buf_free(&why);
}

void rows_copy(void *base, const struct row *rows, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        if (is_text(&rows[i])) {
            char **field = field_of(base, &rows[i]);
            *field = mem_strdup(*field);
        }
    }
}

void rows_free(void *base, const struct row *rows, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        if (is_text(&rows[i])) {
            mem_free(*(char **)field_of(base, &rows[i]));
        }
    }
}

/* ---- options ---- */

static const struct row *option_find(const struct row *rows, unsigned count, struct slice name) {
    for (unsigned i = 0; i < count; i++) {
        if (slice_eqi(name, rows[i].name)) {
            return &rows[i];
        }
    }
    return NULL;
}

static bool option_parse(void *base, const struct row *rows, unsigned count, struct slice word, uint64_t *given, struct buf *why) {
    const char *eq = memchr(word.p, '=', word.n);
    size_t len = eq != NULL ? (size_t)(eq - word.p) : word.n;
    const struct row *row = option_find(rows, count, slice_make(word.p, len));
    if (row == NULL || eq == NULL) {
        buf_printf(why, "'%.*s': not an option; allowed:", SLICE_ARG(word));
        for (unsigned k = 0; k < count; k++) {
            buf_printf(why, " %s=", rows[k].name);
        }
        return false;
    }
    uint64_t bit = (uint64_t)1 << (row - rows);
    struct buf reason = {0};
    bool ok = (*given & bit) == 0;
    if (!ok) {
        buf_puts(&reason, "given twice; allowed: once");
    }
    ok = ok && row_parse(base, row, slice_make(eq + 1, word.n - len - 1), &reason);
    if (!ok) {
        buf_printf(why, "%s: %.*s", row->name, (int)reason.n, reason.p);
    }
    *given |= bit;
    buf_free(&reason);
    return ok;
}

bool options_parse(void *base, const struct row *rows, unsigned count, const struct slice *words, int n, struct buf *why) {
    uint64_t given = 0;
    bool ok = true;
    CHECK(count <= 64);
    for (int i = 0; ok && i < n; i++) {
        ok = option_parse(base, rows, count, words[i], &given, why);
    }
    return ok;
}

void options_print(const void *base, const struct row *rows, unsigned count, struct buf *out) {
    for (unsigned i = 0; i < count; i++) {
        struct buf text = {0};
        row_print(base, &rows[i], &text);
        if (rows[i].kind == KIND_DUR_MS) {
            int64_t ms = *(int64_t *)field_of(base, &rows[i]);
            buf_clear(&text);
            if (ms < 0) {
                buf_puts(&text, rows[i].choices);
            } else {
                print_duration(ms, &text);
            }
        }
        if (text.n > 0 && !slice_eq(buf_slice(&text), slice_cstr(rows[i].def))) {
            bool spaces = memchr(text.p, ' ', text.n) != NULL;
            buf_printf(out, spaces ? " %s=\"%.*s\"" : " %s=%.*s", rows[i].name, SLICE_ARG(buf_slice(&text)));
        }
        buf_free(&text);
    }
}

void options_docs(const struct row *rows, unsigned count, struct buf *out) {
    buf_puts(out, "| option | default | allowed | meaning |\n|---|---|---|---|\n");
    for (unsigned i = 0; i < count; i++) {
        buf_printf(out, "| `%s` | `%s` | ", rows[i].name, rows[i].def[0] == '\0' ? "\"\"" : rows[i].def);
        row_allowed(&rows[i], out);
        buf_printf(out, " | %s |\n", rows[i].doc);
    }
}

/* ---- snapshots ---- */

struct conf *conf_ref(struct conf *c) {
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

void conf_unref(struct conf *c) {
    if (c == NULL || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    rows_free(c, conf_rows, conf_row_count);
    for (unsigned i = 0; i < no_effect_count; i++) {
        mem_free(c->no_effect[i]);
    }
    mem_free(c->no_effect);
    mem_free(c);
}

struct conf *conf_create(void) {
    struct conf *c = mem_zalloc(sizeof(*c));
    atomic_init(&c->refs, 1);
    rows_init(c, conf_rows, conf_row_count);
    c->no_effect = mem_zalloc(no_effect_count * sizeof(*c->no_effect));
    for (unsigned i = 0; i < no_effect_count; i++) {
        c->no_effect[i] = mem_strdup(no_effect_rows[i].def);
    }
    return c;
}

struct conf *conf_copy(const struct conf *from) {
    struct conf *c = mem_zalloc(sizeof(*c));
    memcpy(c, from, offsetof(struct conf, refs)); /* others may be counting themselves in and out of it */
    atomic_init(&c->refs, 1);
    rows_copy(c, conf_rows, conf_row_count);
    c->no_effect = mem_zalloc(no_effect_count * sizeof(*c->no_effect));
    for (unsigned i = 0; i < no_effect_count; i++) {
        c->no_effect[i] = mem_strdup(from->no_effect[i]);
    }
    return c;
}

void no_effect_set(struct conf *c, int index, struct slice text) {
    mem_free(c->no_effect[index]);
    char *copy = mem_alloc(text.n + 1);
    memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    c->no_effect[index] = copy;
}

/* ---- rules over several fields ---- */

/* "normal 256mb 0 0 pubsub ..." into the array; classes not named keep their limits. */
static bool parse_output_limits(struct conf *c, struct buf *why) {
    static const char *const classes[] = {"normal", "replica", "pubsub"};
    struct slice words[MAX_WORDS];
    struct buf bytes = {0};
    int n = split_words(slice_cstr(c->client_output_buffer_limit_text), &bytes, words);
    bool ok = n > 0 && n % 4 == 0;
    for (int i = 0; ok && i < n; i += 4) {
        int cls = slice_eqi(words[i], "slave") ? CONF_CLASS_REPLICA : -1;
        for (int k = 0; k < CONF_CLASS_COUNT; k++) {
            cls = slice_eqi(words[i], classes[k]) ? k : cls;
        }
        int64_t hard = 0, soft = 0, seconds = 0;
        ok = cls >= 0 && conf_parse_size(words[i + 1], &hard) && hard >= 0 &&
             conf_parse_size(words[i + 2], &soft) && soft >= 0 &&
             num_parse_i64(words[i + 3], &seconds) && seconds >= 0;
        if (ok) {
            c->client_output_buffer_limit[cls] =
                (struct conf_output_limit){(size_t)hard, (size_t)soft, seconds};
        }
    }
    buf_free(&bytes);
    if (!ok) {
        buf_puts(why, "wrong form; allowed: groups of: normal|replica|pubsub HARD SOFT SECONDS");
        return false;
    }
    struct buf text = {0};
    for (int k = 0; k < CONF_CLASS_COUNT; k++) {
        const struct conf_output_limit *l = &c->client_output_buffer_limit[k];
        buf_printf(&text, "%s%s %zu %zu %lld", k > 0 ? " " : "", k == 1 ? "slave" : classes[k],
                   l->hard_bytes, l->soft_bytes, (long long)l->soft_s);
    }
    buf_putc(&text, '\0');
    mem_free(c->client_output_buffer_limit_text);
    c->client_output_buffer_limit_text = text.p;
    return true;
}

static bool parse_percentiles(struct conf *c, struct buf *why) {
    const char *p = c->latency_tracking_info_percentiles;
    int n = 0;
    for (; *(p += strspn(p, " ")) != '\0'; n++) {
        char *end;
        double v = strtod(p, &end);
        if (end == p || (*end != ' ' && *end != '\0') || !(v >= 0 && v <= 100) || n == CONF_MAX_PERCENTILES) {
            buf_printf(why, "wrong form; allowed: up to %d numbers from 0 to 100", CONF_MAX_PERCENTILES);
            return false;
        }
        c->percentiles[n] = v;
        p = end;
    }
    c->percentile_count = n;
    return true;
}

static bool check_save(const struct conf *c, struct buf *why) {
    struct slice words[MAX_WORDS];
    struct buf bytes = {0};
    int n = split_words(slice_cstr(c->save), &bytes, words);
    bool ok = n >= 0 && n % 2 == 0;
    for (int i = 0; ok && i < n; i++) {
        int64_t v;
        ok = num_parse_i64(words[i], &v) && v >= (i % 2 == 0 ? 1 : 0);
    }
    buf_free(&bytes);
    if (!ok) {
        buf_puts(why, "wrong form; allowed: pairs of SECONDS CHANGES, or nothing");
    }
    return ok;
}

static int64_t read_limit(const char *path) {
    char text[64] = "";
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        return 0;
    }
    size_t n = fread(text, 1, sizeof(text) - 1, f);
    fclose(f);
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == ' ')) {
        n--;
    }
    int64_t v;
    return num_parse_i64(slice_make(text, n), &v) ? v : 0;
}

/* Three quarters of what the cgroup or the machine gives. */
static int64_t auto_maxmemory(void) {
    int64_t total = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
    const char *const limits[] = {"/sys/fs/cgroup/memory.max",
                                  "/sys/fs/cgroup/memory/memory.limit_in_bytes"};
    for (int i = 0; i < 2; i++) {
        int64_t limit = read_limit(limits[i]);
        total = limit > 0 && limit < total ? limit : total;
    }
    return total / 4 * 3;
}

bool conf_parse_admission(const char *text, int *rule, uint32_t *ppm) {
    double share = 1;
    char *end;
    *rule = strcmp(text, "all") == 0 ? 0 : strcmp(text, "second") == 0 ? 1 : 2;
    *ppm = 1000000;
    if (*rule != 2) {
        return true;
    }
    if (strncmp(text, "random:", 7) != 0) {
        return false;
    }
    share = strtod(text + 7, &end);
    *ppm = (uint32_t)(share * 1000000);
    return end != text + 7 && *end == '\0' && share >= 0 && share <= 1;
}

enum { WRITE_THROUGH = 1, DURABILITY_ALWAYS = 2 /* places among the choices */ };

static bool check_http(const struct conf *c, const char **name, struct buf *why) {
    unsigned char bytes[sizeof(struct in6_addr)];
    const char *bind = c->http_bind, *colon = strchr(c->http_auth, ':');
    *name = "http-bind";
    if (strcmp(bind, "*") != 0 && strcmp(bind, "::*") != 0 && strcmp(bind, "localhost") != 0 && inet_pton(AF_INET, bind, bytes) != 1 &&
        inet_pton(AF_INET6, bind, bytes) != 1) {
        buf_puts(why, "not an address; allowed: one numeric address, localhost, *, ::*");
        return false;
    }
    *name = "http-auth";
    if (c->http_auth[0] != '\0' && (colon == NULL || colon == c->http_auth || colon[1] == '\0')) {
        buf_puts(why, "wrong form; allowed: USER:PASSWORD, or nothing");
        return false;
    }
    return true;
}

bool conf_finish(struct conf *c, const char **name, struct buf *why) {
    if (c->maxmemory == -1) {
        c->maxmemory_is_auto = true;
        c->maxmemory = auto_maxmemory();
    }
    *name = "client-output-buffer-limit";
    if (!parse_output_limits(c, why)) {
        return false;
    }
    *name = "latency-tracking-info-percentiles";
    if (!parse_percentiles(c, why)) {
        return false;
    }
    *name = "save";
    if (!check_save(c, why)) {
        return false;
    }
    *name = "l2-durability";
    if (c->l2_durability == DURABILITY_ALWAYS && c->l2_write_policy != WRITE_THROUGH) {
        buf_puts(why, "`always` needs `l2-write-policy through`: else a value is in memory only until it is evicted; "
                      "allowed: none, everysec");
        return false;
    }
    int rule;
    uint32_t ppm;
    *name = "l2-admission";
    if (!conf_parse_admission(c->l2_admission, &rule, &ppm)) {
        buf_puts(why, "not a rule; allowed: all, second, random:<share from 0 to 1>");
        return false;
    }
    if (c->l2_threads_max < c->l2_threads_min) {
        *name = "l2-threads-max";
        buf_puts(why, "less than l2-threads-min");
        return false;
    }
    *name = "l1-shards";
    if ((c->l1_shards & (c->l1_shards - 1)) != 0) {
        buf_puts(why, "not a power of two; allowed: 0, 1, 2, 4, ... 4096");
        return false;
    }
    if (!check_http(c, name, why)) {
        return false;
    }
    *name = "unixsocketperm";
    char *end;
    long perm = strtol(c->unixsocketperm, &end, 8);
    if (*end != '\0' || perm < 0 || perm > 0777) {
        buf_puts(why, "not octal permissions; allowed: 0 to 777");
        return false;
    }
    return true;
}
