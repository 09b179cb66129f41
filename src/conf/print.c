/* SPDX-License-Identifier: BSD-3-Clause */
/* print: cache.conf, docs/config.md and CONFIG REWRITE out of the rows. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/mem.h"
#include "src/conf/rows.h"

static void put_wrapped(struct buf *out, const char *text) {
    size_t column = 0;
    while (*text != '\0') {
        size_t n = strcspn(text, " ");
        if (column == 0 || column + n + 1 > 96) {
            buf_puts(out, column == 0 ? "# " : "\n# ");
            column = 1;
        } else {
            buf_putc(out, ' ');
        }
        buf_put(out, text, n);
        column += n + 1;
        text += n;
        text += *text == ' ';
    }
    buf_putc(out, '\n');
}

static void put_plain_word(struct buf *out, struct slice v) {
    bool plain = v.n > 0;
    for (size_t i = 0; i < v.n; i++) {
        plain &= isgraph((unsigned char)v.p[i]) && v.p[i] != '"' && v.p[i] != '\'' && v.p[i] != '#';
    }
    if (plain) {
        buf_put_slice(out, v);
        return;
    }
    buf_putc(out, '"');
    for (size_t i = 0; i < v.n; i++) {
        char c = v.p[i];
        if (c == '"' || c == '\\') {
            buf_printf(out, "\\%c", c);
        } else if (isprint((unsigned char)c)) {
            buf_putc(out, c);
        } else {
            buf_printf(out, "\\x%02x", (unsigned char)c);
        }
    }
    buf_putc(out, '"');
}

/* As a word of a file: "${" would begin a variable. */
static void put_quoted(struct buf *out, struct slice v) {
    struct buf plainly = {0};
    for (size_t i = 0; i < v.n; i++) {
        buf_puts(&plainly, v.p[i] == '$' && i + 1 < v.n && v.p[i + 1] == '{' ? "$" : "");
        buf_putc(&plainly, v.p[i]);
    }
    put_plain_word(out, buf_slice(&plainly));
    buf_free(&plainly);
}

void conf_print_file(struct buf *out) {
    buf_puts(out, "# Strata's configuration: every directive with its default. Syntax as in redis.conf;\n"
                  "# sizes 1k 1kb 1m 1mb 1g 1gb, times 100ms 5s 3m 2h 1d, environment ${NAME:-default}.\n"
                  "# A user's redis.conf works too: directives without meaning here are kept and logged once.\n");
    for (unsigned i = 0; i < conf_row_count; i++) {
        const struct row *row = &conf_rows[i];
        if (row->kind == KIND_SECTION) {
            buf_printf(out, "\n################ %s ################\n", row->name);
            continue;
        }
        buf_putc(out, '\n');
        put_wrapped(out, row->doc);
        if (row->kind != KIND_STR && row->kind != KIND_LINES) {
            struct buf allowed = {0};
            row_allowed(row, &allowed);
            buf_puts(out, "# Allowed: ");
            buf_put_slice(out, buf_slice(&allowed));
            buf_putc(out, '\n');
            buf_free(&allowed);
        }
        /* bind stays a comment: giving it says that protected mode may trust it */
        bool comment = row->def[0] == '\0' || strcmp(row->name, "bind") == 0;
        buf_printf(out, "%s%s %s\n", comment ? "# " : "", row->name, row->def[0] == '\0' ? "\"\"" : row->def);
    }
}

void conf_print_docs(struct buf *out) {
    buf_puts(out, "# Configuration\n\nGenerated from the table of directives: `strata-server --print docs:config`.\n");
    for (unsigned i = 0; i < conf_row_count; i++) {
        const struct row *row = &conf_rows[i];
        if (row->kind == KIND_SECTION) {
            buf_printf(out, "\n## %s\n\n| directive | default | allowed | at run time | meaning |\n|---|---|---|---|---|\n",
                       row->name);
            continue;
        }
        buf_printf(out, "| `%s` | `%s` | ", row->name, row->def[0] == '\0' ? "\"\"" : row->def);
        row_allowed(row, out);
        buf_printf(out, " | %s | %s |\n", row->flags & LIVE ? "yes" : "no", row->doc);
    }
    buf_puts(out, "\n## Accepted without effect\n\nRedis directives without meaning here: accepted by file and CONFIG SET, answered by "
                  "CONFIG GET, logged once.\n\n");
    for (unsigned i = 0; i < no_effect_count; i++) {
        buf_printf(out, "%s`%s`", i > 0 ? ", " : "", no_effect_rows[i].name);
    }
    buf_putc(out, '\n');
}

/* ---- CONFIG REWRITE ---- */

/* What the file gives by itself, everything else at its default: a directive that has that value now is left as it stands, with its units,
 * quotes and variables. NULL with the reason. */
static struct conf *read_file(const struct conf_store *store, struct buf *err) {
    const char *path = conf_store_file(store);
    bool there = access(path, F_OK) == 0;
    char *argv[] = {(char *)(uintptr_t) "", (char *)(uintptr_t)path};
    struct conf_store *alone = conf_load(there ? 2 : 1, argv, conf_store_hooks(store), err);
    if (alone == NULL) {
        return NULL;
    }
    struct conf *c = conf_store_current(alone);
    conf_store_free(&alone);
    return c;
}

static bool same_value(const struct conf *a, const struct conf *b, const struct row *row) {
    struct buf x = {0}, y = {0};
    row_print(a, row, &x);
    row_print(b, row, &y);
    bool same = slice_eq(buf_slice(&x), buf_slice(&y));
    buf_free(&x);
    buf_free(&y);
    return same;
}

/* A rewrite under way: what is still to be written, and what then need not be any more. */
struct rewrite {
    struct buf out;
    const struct conf *now;
    bool *rows, *no_effect; /* differ from what the file gives */
    bool *rows_done, *no_effect_done;
};

static void put_lines(struct buf *out, const char *name, const char *lines) {
    while (*lines != '\0') {
        size_t n = strcspn(lines, "\n");
        if (n > 0) {
            buf_printf(out, "%s ", name);
        }
        for (size_t i = 0; i < n; i++) {
            buf_puts(out, lines[i] == '$' && lines[i + 1] == '{' ? "$" : ""); /* no variable */
            buf_putc(out, lines[i]);
        }
        buf_puts(out, n > 0 ? "\n" : "");
        lines += n + (lines[n] != '\0');
    }
}

static void put_directive(struct buf *out, const struct conf *c, const struct row *row) {
    struct buf v = {0};
    if (row->kind == KIND_LINES) {
        row_print(c, row, &v);
        buf_putc(&v, '\0');
        put_lines(out, row->name, v.p);
        buf_free(&v);
        return;
    }
    if (strcmp(row->name, "maxmemory") == 0 && c->maxmemory_is_auto) {
        buf_puts(&v, "auto");
    } else {
        row_print(c, row, &v);
    }
    buf_printf(out, "%s ", row->name);
    bool words = strcmp(row->name, "bind") == 0 || strcmp(row->name, "save") == 0 ||
                 strcmp(row->name, "client-output-buffer-limit") == 0;
    if (words && v.n > 0) {
        buf_put_slice(out, buf_slice(&v));
    } else {
        put_quoted(out, v.p == NULL ? slice_make("", 0) : buf_slice(&v));
    }
    buf_putc(out, '\n');
    buf_free(&v);
}

static void put_no_effect(struct buf *out, const struct conf *c, int i) {
    buf_printf(out, "%s ", no_effect_rows[i].name);
    if (c->no_effect[i][0] == '\0' || strpbrk(c->no_effect[i], "$#\"'\\\t\r\n") != NULL) {
        put_quoted(out, slice_cstr(c->no_effect[i]));
    } else {
        buf_puts(out, c->no_effect[i]); /* several words, mostly */
    }
    buf_putc(out, '\n');
}

/* One line of the old file: kept; or, where the file gives another value, the present one in its place, once. */
static void rewrite_line(struct rewrite *r, struct slice line) {
    struct buf bytes = {0};
    struct slice words[MAX_WORDS];
    int n = line.n > 0 && line.p[0] != '#' ? split_words(line, &bytes, words) : 0;
    const struct row *row = n > 0 ? row_find(words[0]) : NULL;
    int useless = n > 0 && row == NULL ? no_effect_find(words[0]) : -1;
    long i = row != NULL ? row - conf_rows : 0;
    if (row != NULL && r->rows[i]) {
        if (!r->rows_done[i]) {
            put_directive(&r->out, r->now, row);
        }
        r->rows_done[i] = true;
    } else if (useless >= 0 && r->no_effect[useless]) {
        if (!r->no_effect_done[useless]) {
            put_no_effect(&r->out, r->now, useless);
        }
        r->no_effect_done[useless] = true;
    } else {
        buf_put_slice(&r->out, line);
        buf_putc(&r->out, '\n');
    }
    buf_free(&bytes);
}

static void rewrite_lines(struct rewrite *r, const char *path) {
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    FILE *f = fopen(path, "re");
    while (f != NULL && (n = getline(&line, &cap, f)) >= 0) {
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r')) {
            n--;
        }
        rewrite_line(r, slice_make(line, (size_t)n));
    }
    (free)(line); /* getline's */
    if (f != NULL) {
        fclose(f);
    }
    for (unsigned i = 0; i < conf_row_count; i++) {
        if (r->rows[i] && !r->rows_done[i]) {
            put_directive(&r->out, r->now, &conf_rows[i]);
        }
    }
    for (unsigned i = 0; i < no_effect_count; i++) {
        if (r->no_effect[i] && !r->no_effect_done[i]) {
            put_no_effect(&r->out, r->now, (int)i);
        }
    }
}

/* The new file belongs to whom the old one did, and nobody else may read it: there may be a password in it. */
static bool keep_mode(int fd, const char *path) {
    struct stat st;
    if (stat(path, &st) != 0) {
        return true;
    }
    (void)!fchown(fd, st.st_uid, st.st_gid); /* only root can give it away */
    return fchmod(fd, st.st_mode & 07777) == 0;
}

static bool write_atomically(const char *path, const struct buf *text, struct buf *err) {
    char temp[4200];
    snprintf(temp, sizeof(temp), "%s.%d.tmp", path, (int)getpid());
    FILE *f = fopen(temp, "we");
    bool ok = f != NULL && keep_mode(fileno(f), path) && fwrite(text->p, 1, text->n, f) == text->n && fflush(f) == 0 &&
              fsync(fileno(f)) == 0;
    if (f != NULL) {
        ok &= fclose(f) == 0;
    }
    ok = ok && rename(temp, path) == 0;
    if (!ok) {
        buf_printf(err, "%s", strerror(errno));
        unlink(temp);
    }
    return ok;
}

bool conf_rewrite(struct conf_store *store, struct buf *err) {
    struct conf *c = conf_store_current(store), *file = read_file(store, err);
    bool ok = file != NULL;
    struct rewrite r = {.now = c};
    r.rows = mem_zalloc(2 * conf_row_count + 2 * no_effect_count);
    r.rows_done = r.rows + conf_row_count;
    r.no_effect = r.rows_done + conf_row_count;
    r.no_effect_done = r.no_effect + no_effect_count;
    for (unsigned i = 0; ok && i < conf_row_count; i++) {
        r.rows[i] = conf_rows[i].kind != KIND_SECTION && !same_value(c, file, &conf_rows[i]);
    }
    for (unsigned i = 0; ok && i < no_effect_count; i++) {
        r.no_effect[i] = strcmp(c->no_effect[i], file->no_effect[i]) != 0;
    }
    if (ok) {
        rewrite_lines(&r, conf_store_file(store));
        ok = write_atomically(conf_store_file(store), &r.out, err);
        conf_unref(file);
    }
    mem_free(r.rows);
    buf_free(&r.out);
    conf_unref(c);
    return ok;
}
