/* SPDX-License-Identifier: BSD-3-Clause */
/* conf: reading the file and the command line, CONFIG GET and SET, and printing. */
#include "src/conf/conf.h"

#include <ctype.h>
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "src/base/check.h"
#include "src/base/glob.h"
#include "src/base/lock.h"
#include "src/base/mem.h"
#include "src/conf/rows.h"

enum { MAX_INCLUDES = 16, MAX_LINE = 64 * 1024 };

struct conf_store {
    struct lock lock; /* CONF: current */
    struct conf *current;
    const struct conf_hooks *hooks; /* or NULL */
    char *file;
    bool bind_given;
    bool *noted; /* no-effect rows that were set */
    /* while loading */
    struct conf *building;
    bool *given; /* rows set so far: `save` lines add up, but the first replaces the default */
    int include_depth;
    struct reading *readings; /* the last one first */
};

/* A directive where it was read: what is wrong with it may show only when all is known. */
struct reading {
    struct reading *next;
    const struct row *row;
    char *word, *where; /* its first argument; "file:line: 'text'" */
};

/* ---- words ---- */

static bool ends_word(char c) {
    return isspace((unsigned char)c) || c == '\0';
}

static const char *take_quoted(const char *p, const char *end, char quote, struct buf *to) {
    for (; p < end; p++) {
        if (*p == quote) {
            p++;
            return p == end || ends_word(*p) ? p : NULL;
        }
        if (*p == '\\' && quote == '"' && end - p >= 4 && p[1] == 'x' && isxdigit((unsigned char)p[2]) &&
            isxdigit((unsigned char)p[3])) {
            char hex[3] = {p[2], p[3], '\0'};
            buf_putc(to, (char)strtol(hex, NULL, 16));
            p += 3;
        } else if (*p == '\\' && end - p >= 2 && (quote == '"' || p[1] == '\'')) {
            p++;
            buf_putc(to, *p == 'n' ? '\n' : *p == 'r' ? '\r' : *p == 't' ? '\t' : *p);
        } else {
            buf_putc(to, *p);
        }
    }
    return NULL;
}

int split_words(struct slice line, struct buf *bytes, struct slice *words) {
    const char *p = line.p, *end = p + line.n;
    size_t starts[MAX_WORDS];
    int n = 0;
    for (;;) {
        while (p < end && ends_word(*p)) {
            p++;
        }
        if (p == end || n == MAX_WORDS) {
            break;
        }
        starts[n++] = bytes->n;
        while (p < end && !ends_word(*p)) {
            if (*p == '"' || *p == '\'') {
                p = take_quoted(p + 1, end, *p, bytes);
                if (p == NULL) {
                    return -1;
                }
                break;
            }
            buf_putc(bytes, *p++);
        }
        buf_putc(bytes, '\0');
    }
    for (int i = 0; i < n; i++) {
        size_t stop = i + 1 < n ? starts[i + 1] : bytes->n;
        words[i] = slice_make(bytes->p + starts[i], stop - starts[i] - 1);
    }
    return n;
}

/* ${NAME} and ${NAME:-default}; $${ is ${ itself, any other dollar one. False: a variable that is not set. */
static bool expand(struct slice line, struct buf *out, struct buf *why) {
    for (size_t i = 0; i < line.n; i++) {
        if (line.p[i] != '$' || i + 1 >= line.n) {
            buf_putc(out, line.p[i]);
            continue;
        }
        if (line.p[i + 1] == '$' && i + 2 < line.n && line.p[i + 2] == '{') {
            buf_puts(out, "${");
            i += 2;
            continue;
        }
        const char *close = line.p[i + 1] == '{' ? memchr(line.p + i, '}', line.n - i) : NULL;
        if (close == NULL) {
            buf_putc(out, '$');
            continue;
        }
        char name[256];
        size_t n = (size_t)(close - (line.p + i + 2));
        snprintf(name, sizeof(name), "%.*s", (int)n, line.p + i + 2);
        char *def = strstr(name, ":-");
        if (def != NULL) {
            *def = '\0';
            def += 2;
        }
        const char *value = getenv(name);
        value = value != NULL && *value != '\0' ? value : def;
        if (value == NULL) {
            buf_printf(why, "environment variable '%s' is not set; allowed: ${NAME:-default}", name);
            return false;
        }
        buf_puts(out, value);
        i += n + 2;
    }
    return true;
}

/* ---- one directive ---- */

static unsigned distance(const char *a, const char *b) {
    unsigned prev[64], cur[64];
    size_t n = strlen(b);
    if (n >= 63 || strlen(a) >= 63) {
        return 99;
    }
    for (unsigned j = 0; j <= n; j++) {
        prev[j] = j;
    }
    for (unsigned i = 1; a[i - 1] != '\0'; i++) {
        cur[0] = i;
        for (unsigned j = 1; j <= n; j++) {
            unsigned best = prev[j - 1] + (tolower((unsigned char)a[i - 1]) != b[j - 1]);
            best = prev[j] + 1 < best ? prev[j] + 1 : best;
            cur[j] = cur[j - 1] + 1 < best ? cur[j - 1] + 1 : best;
        }
        memcpy(prev, cur, sizeof(prev));
    }
    return prev[n];
}

static void suggest(const char *name, struct buf *why) {
    const char *best = NULL;
    unsigned least = 4;
    for (unsigned i = 0; i < conf_row_count; i++) {
        unsigned d = conf_rows[i].kind == KIND_SECTION ? 99 : distance(name, conf_rows[i].name);
        if (d < least) {
            least = d;
            best = conf_rows[i].name;
        }
    }
    if (best != NULL) {
        buf_printf(why, "; did you mean '%s'?", best);
    } else {
        buf_puts(why, "; allowed: see --print conf");
    }
}

void put_word(struct slice word, struct buf *out) {
    bool plain = word.n > 0;
    for (size_t i = 0; i < word.n; i++) {
        plain &= !ends_word(word.p[i]) && word.p[i] != '"' && word.p[i] != '\'';
    }
    if (plain) {
        buf_put_slice(out, word);
        return;
    }
    buf_putc(out, '"');
    for (size_t i = 0; i < word.n; i++) {
        unsigned char c = (unsigned char)word.p[i];
        if (c < ' ' || c == '"' || c == '\\') {
            buf_printf(out, "\\x%02x", c);
        } else {
            buf_putc(out, (char)c);
        }
    }
    buf_putc(out, '"');
}

/* quoted: so that they can be split again. */
static void join_words(const struct slice *words, int n, bool quoted, struct buf *out) {
    for (int i = 0; i < n; i++) {
        if (i > 0) {
            buf_putc(out, ' ');
        }
        if (quoted) {
            put_word(words[i], out);
        } else {
            buf_put_slice(out, words[i]);
        }
    }
}

static const char *const refused[][2] = {
    {"replicaof", "replication is not part of this server"},
    {"slaveof", "replication is not part of this server"},
    {"loadmodule", "modules are not part of this server"},
    {"rename-command", "commands cannot be renamed: use requirepass or enable-debug-command"},
    {"user", "there are no ACL users yet: use requirepass"},
};

/* Each line of a LINES directive's text, by the hook. */
static bool check_lines(const struct conf_store *s, const struct row *row, struct slice text, struct buf *why) {
    while (text.n > 0 && s->hooks != NULL) {
        const char *end = memchr(text.p, '\n', text.n);
        size_t n = end != NULL ? (size_t)(end - text.p) : text.n;
        if (n > 0 && !s->hooks->line(row->name, slice_make(text.p, n), why)) {
            return false;
        }
        n += end != NULL;
        text = slice_make(text.p + n, text.n - n);
    }
    return true;
}

static bool finish(const struct conf_store *s, struct conf *c, struct conf_fault *fault, struct buf *why) {
    return conf_finish(c, &fault->name, why) && (s->hooks == NULL || s->hooks->all(c, fault, why));
}

/* Directives whose lines add up, and what stands between them. NUL: a line replaces the one before. */
static char joined_by(const struct row *row) {
    bool words = strcmp(row->name, "save") == 0 || strcmp(row->name, "client-output-buffer-limit") == 0;
    return row->kind == KIND_LINES ? '\n' : words ? ' ' : '\0';
}

/* One directive of the table while loading. */
static bool apply_row(struct conf_store *s, const struct row *row, int n, struct slice text, struct buf *why) {
    bool *given = &s->given[row - conf_rows], text_kind = row->kind == KIND_STR || row->kind == KIND_LINES;
    if (n == 0 || (n > 1 && !text_kind)) {
        buf_puts(why, "wrong number of arguments; allowed: ");
        row_allowed(row, why);
        return false;
    }
    if (row->kind == KIND_LINES && !check_lines(s, row, text, why)) {
        return false;
    }
    struct buf both = {0};
    if (joined_by(row) != '\0' && *given && text.n > 0) {
        row_print(s->building, row, &both);
        if (both.n > 0) {
            buf_putc(&both, joined_by(row));
        }
    }
    buf_put_slice(&both, text);
    bool ok = row_parse(s->building, row, both.p == NULL ? slice_make("", 0) : buf_slice(&both), why);
    *given = true;
    s->bind_given |= strcmp(row->name, "bind") == 0;
    buf_free(&both);
    return ok;
}

/* Sets one directive while loading; words are its arguments. */
static bool apply(struct conf_store *s, struct slice name, const struct slice *words, int n,
                  struct buf *why) {
    for (unsigned i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        if (slice_eqi(name, refused[i][0])) {
            buf_printf(why, "%s", refused[i][1]);
            return false;
        }
    }
    struct buf text = {0};
    const struct row *row = row_find(name);
    int useless = row == NULL ? no_effect_find(name) : -1;
    bool ok = true;
    join_words(words, n, row != NULL && row->kind == KIND_LINES && n > 1, &text); /* one word is the whole line */
    if (row != NULL) {
        ok = apply_row(s, row, n, text.p == NULL ? slice_make("", 0) : buf_slice(&text), why);
    } else if (useless >= 0) {
        no_effect_set(s->building, useless, text.p == NULL ? slice_make("", 0) : buf_slice(&text));
        s->noted[useless] = true;
    } else {
        buf_puts(why, "unknown directive");
        char word[64];
        snprintf(word, sizeof(word), "%.*s", SLICE_ARG(name));
        suggest(word, why);
        ok = false;
    }
    buf_free(&text);
    return ok;
}

/* ---- where directives were read ---- */

static void note_reading(struct conf_store *s, struct slice name, struct slice word, const char *where) {
    const struct row *row = row_find(name);
    if (row != NULL) {
        struct reading *r = mem_zalloc(sizeof(*r));
        *r = (struct reading){.next = s->readings, .row = row, .word = mem_strdup(word.p), .where = mem_strdup(where)};
        s->readings = r;
    }
}

/* Where the directive at fault was read last, NULL for a default. */
static const char *where_read(const struct conf_store *s, const struct conf_fault *fault) {
    size_t n = strlen(fault->word);
    for (const struct reading *r = s->readings; r != NULL; r = r->next) {
        bool is_it = n == 0 || (strncmp(r->word, fault->word, n) == 0 && ends_word(r->word[n])); /* a line may be one word */
        if (strcmp(r->row->name, fault->name) == 0 && is_it) {
            return r->where;
        }
    }
    return NULL;
}

static void forget_readings(struct conf_store *s) {
    for (struct reading *r; (r = s->readings) != NULL;) {
        s->readings = r->next;
        mem_free(r->word);
        mem_free(r->where);
        mem_free(r);
    }
}

/* ---- files ---- */

static bool load_file(struct conf_store *s, const char *path, struct buf *err);

static bool include(struct conf_store *s, const char *pattern, struct buf *err) {
    glob_t found = {0};
    bool ok = true;
    if (glob(pattern, 0, NULL, &found) != 0 && strpbrk(pattern, "*?[") == NULL) {
        buf_printf(err, "include '%s': no such file", pattern);
        ok = false;
    }
    for (size_t i = 0; ok && i < found.gl_pathc; i++) {
        ok = load_file(s, found.gl_pathv[i], err);
    }
    globfree(&found);
    return ok;
}

/* The variables in each word, whatever is in them: quotes and spaces of a value are part of it. */
static bool expand_words(struct slice *words, int n, struct buf *bytes, struct buf *why) {
    size_t ends[MAX_WORDS];
    for (int i = 0; i < n; i++) {
        if (!expand(words[i], bytes, why)) {
            return false;
        }
        buf_putc(bytes, '\0');
        ends[i] = bytes->n;
    }
    for (int i = 0; i < n; i++) {
        size_t start = i > 0 ? ends[i - 1] : 0;
        words[i] = slice_make(bytes->p + start, ends[i] - start - 1);
    }
    return true;
}

static bool load_line(struct conf_store *s, struct slice line, const char *path, int number,
                      struct buf *err) {
    struct buf split = {0}, bytes = {0}, why = {0}, where = {0};
    struct slice words[MAX_WORDS];
    int n = split_words(line, &split, words);
    bool ok = n >= 0 && expand_words(words, n, &bytes, &why);
    if (n < 0) {
        buf_puts(&why, "unbalanced quotes; allowed: \"...\" or '...' followed by a space");
    } else if (ok && n > 0) {
        if (slice_eqi(words[0], "include") && n == 2) {
            ok = include(s, words[1].p, err);
            if (!ok && err->n > 0 && memchr(err->p, ':', err->n) != NULL && why.n == 0) {
                goto out; /* the included file named its own line */
            }
        } else {
            ok = apply(s, words[0], words + 1, n - 1, &why);
        }
    }
    buf_printf(&where, "%s:%d: '%.*s'", path, number, SLICE_ARG(line));
    if (!ok && why.n > 0) {
        buf_printf(err, "%.*s: %.*s", (int)where.n, where.p, (int)why.n, why.p);
    } else if (ok && n > 1) {
        buf_putc(&where, '\0');
        note_reading(s, words[0], words[1], where.p);
    }
out:
    buf_free(&where);
    buf_free(&split);
    buf_free(&bytes);
    buf_free(&why);
    return ok;
}

static bool load_stream(struct conf_store *s, FILE *f, const char *path, struct buf *err) {
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    bool ok = true;
    for (int number = 1; ok && (n = getline(&line, &cap, f)) >= 0; number++) {
        while (n > 0 && isspace((unsigned char)line[n - 1])) {
            n--;
        }
        size_t skip = strspn(line, " \t");
        if ((size_t)n > skip && line[skip] != '#') {
            ok = load_line(s, slice_make(line + skip, (size_t)n - skip), path, number, err);
        }
    }
    (free)(line); /* getline's */
    return ok;
}

static bool load_file(struct conf_store *s, const char *path, struct buf *err) {
    if (++s->include_depth > MAX_INCLUDES) {
        buf_printf(err, "%s: includes nested deeper than %d", path, MAX_INCLUDES);
        return false;
    }
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    if (f == NULL) {
        buf_printf(err, "%s: cannot be opened: %s", path, strerror(errno));
        return false;
    }
    bool ok = load_stream(s, f, path, err);
    if (f != stdin) {
        fclose(f);
    }
    s->include_depth--;
    return ok;
}

/* ---- command line ---- */

/* `--name value value --name ...`; a value that begins with "--" ends the list, as in Redis. */
static bool load_args(struct conf_store *s, int argc, char **argv, struct buf *err) {
    for (int i = 0; i < argc;) {
        if (strncmp(argv[i], "--", 2) != 0) {
            buf_printf(err, "command line: '%s': not a directive; allowed: [file] [--directive value ...]",
                       argv[i]);
            return false;
        }
        struct slice words[MAX_WORDS];
        int n = 0, first = i + 1;
        while (first + n < argc && strncmp(argv[first + n], "--", 2) != 0 && n < MAX_WORDS) {
            words[n] = slice_cstr(argv[first + n]);
            n++;
        }
        struct buf why = {0}, where = {0};
        buf_printf(&where, "command line: '%s", argv[i]);
        for (int k = 0; k < n; k++) {
            buf_printf(&where, " %s", words[k].p);
        }
        buf_put(&where, "'", 2);
        bool ok = apply(s, slice_cstr(argv[i] + 2), words, n, &why);
        if (ok && n > 0) {
            note_reading(s, slice_cstr(argv[i] + 2), words[0], where.p);
        } else if (!ok) {
            buf_printf(err, "%s: %.*s", where.p, (int)why.n, why.p);
        }
        buf_free(&where);
        buf_free(&why);
        if (!ok) {
            return false;
        }
        i = first + n;
    }
    return true;
}

static bool load_all(struct conf_store *s, int argc, char **argv, struct buf *err) {
    int at = 1;
    if (at < argc && (strcmp(argv[at], "-") == 0 || argv[at][0] != '-')) {
        if (!load_file(s, argv[at], err)) {
            return false;
        }
        char real[4096];
        if (strcmp(argv[at], "-") != 0 && realpath(argv[at], real) != NULL) {
            s->file = mem_strdup(real);
        }
        at++;
    }
    if (!load_args(s, argc - at, argv + at, err)) {
        return false;
    }
    struct conf_fault fault = {0};
    struct buf why = {0};
    bool ok = finish(s, s->building, &fault, &why);
    if (!ok) {
        const char *where = where_read(s, &fault);
        buf_printf(err, where != NULL ? "%s: %.*s" : "'%s': %.*s", where != NULL ? where : fault.name, (int)why.n, why.p);
    }
    buf_free(&why);
    return ok;
}

struct conf_store *conf_load(int argc, char **argv, const struct conf_hooks *hooks, struct buf *err) {
    struct conf_store *s = mem_zalloc(sizeof(*s));
    s->hooks = hooks;
    lock_init(&s->lock, LOCK_CONF, 0);
    s->building = conf_create();
    s->given = mem_zalloc(conf_row_count);
    s->noted = mem_zalloc(no_effect_count);
    bool ok = load_all(s, argc, argv, err);
    forget_readings(s);
    s->current = s->building;
    s->building = NULL;
    if (s->file == NULL) {
        s->file = mem_strdup("");
    }
    if (!ok) {
        conf_store_free(&s);
        return NULL;
    }
    return s;
}

void conf_store_free(struct conf_store **store) {
    struct conf_store *s = *store;
    *store = NULL;
    conf_unref(s->current);
    mem_free(s->file);
    mem_free(s->given);
    mem_free(s->noted);
    mem_free(s);
}

struct conf *conf_store_current(struct conf_store *s) {
    lock_acquire(&s->lock);
    struct conf *c = conf_ref(s->current);
    lock_release(&s->lock);
    return c;
}

const char *conf_store_file(const struct conf_store *s) {
    return s->file;
}

const struct conf_hooks *conf_store_hooks(const struct conf_store *s) {
    return s->hooks;
}

bool conf_store_bind_given(const struct conf_store *s) {
    return s->bind_given;
}

void conf_store_take_notes(struct conf_store *s, struct buf *out) {
    for (unsigned i = 0; i < no_effect_count; i++) {
        if (s->noted[i]) {
            buf_printf(out, "%s%s", out->n > 0 ? ", " : "", no_effect_rows[i].name);
            s->noted[i] = false;
        }
    }
}

/* ---- CONFIG SET and GET ---- */

/* seen: a mark for each row, then for each directive without effect. why stays empty when there is no such directive. */
static bool set_one(struct conf_store *s, struct conf *c, struct slice name, struct slice value, bool *seen, struct buf *why) {
    const struct row *row = row_find(name);
    int useless = row == NULL ? no_effect_find(name) : -1;
    bool ok = false;
    bool *mark = &seen[row != NULL ? (size_t)(row - conf_rows) : conf_row_count + (size_t)(useless < 0 ? 0 : useless)];
    if (row == NULL && useless < 0) {
        return false;
    }
    if (*mark) {
        buf_puts(why, "duplicate parameter");
    } else if (useless >= 0) {
        no_effect_set(c, useless, value);
        s->noted[useless] = true;
        ok = true;
    } else if (row->flags & BOOT) {
        buf_puts(why, "can't set immutable config");
    } else {
        ok = (row->kind != KIND_LINES || check_lines(s, row, value, why)) && row_parse(c, row, value, why);
    }
    *mark = true;
    return ok;
}

bool conf_store_change(struct conf_store *s, const struct slice *pairs, int n, struct slice *name, struct buf *why) {
    bool *seen = mem_zalloc(conf_row_count + no_effect_count + 1);
    lock_acquire(&s->lock);
    struct conf *c = conf_copy(s->current);
    bool ok = true;
    for (int i = 0; ok && i < n; i++) {
        *name = pairs[2 * i];
        ok = set_one(s, c, pairs[2 * i], pairs[2 * i + 1], seen, why);
    }
    mem_free(seen);
    if (ok) {
        struct conf_fault fault = {.name = ""};
        ok = finish(s, c, &fault, why);
        *name = slice_cstr(fault.name);
    }
    struct conf *old = ok ? s->current : c;
    if (ok) {
        s->current = c;
    }
    lock_release(&s->lock);
    conf_unref(old);
    return ok;
}

bool conf_store_set(struct conf_store *s, const struct slice *pairs, int n, struct buf *err) {
    struct slice name = slice_make("", 0);
    struct buf why = {0};
    bool ok = conf_store_change(s, pairs, n, &name, &why);
    if (!ok && why.n == 0) {
        buf_printf(err, "ERR Unknown option or number of arguments for CONFIG SET - '%.*s'", SLICE_ARG(name));
    } else if (!ok) {
        buf_printf(err, "ERR CONFIG SET failed (possibly related to argument '%.*s') - %.*s", SLICE_ARG(name), (int)why.n, why.p);
    }
    buf_free(&why);
    return ok;
}

bool conf_value(const struct conf *c, struct slice name, struct buf *out) {
    const struct row *row = row_find(name);
    int useless = row == NULL ? no_effect_find(name) : -1;
    if (row != NULL) {
        row_print(c, row, out);
    } else if (useless >= 0) {
        buf_puts(out, c->no_effect[useless]);
    }
    return row != NULL || useless >= 0;
}

void conf_each(const struct conf *c, struct slice pattern,
               void (*fn)(void *ctx, const char *name, struct slice value), void *ctx) {
    struct buf text = {0};
    for (unsigned i = 0; i < conf_row_count; i++) {
        const struct row *row = &conf_rows[i];
        if (row->kind != KIND_SECTION && glob_match(pattern, slice_cstr(row->name), true)) {
            buf_clear(&text);
            row_print(c, row, &text);
            fn(ctx, row->name, text.p == NULL ? slice_make("", 0) : buf_slice(&text));
        }
    }
    for (unsigned i = 0; i < no_effect_count; i++) {
        if (glob_match(pattern, slice_cstr(no_effect_rows[i].name), true)) {
            fn(ctx, no_effect_rows[i].name, slice_cstr(c->no_effect[i]));
        }
    }
    buf_free(&text);
}
