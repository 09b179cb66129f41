/* SPDX-License-Identifier: BSD-3-Clause */
/* print: cache.conf, docs/config.md and CONFIG REWRITE out of the rows. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
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

static void put_quoted(struct buf *out, struct slice v) {
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

static bool is_default(const struct conf *c, const struct row *row) {
    struct conf *fresh = conf_create();
    struct buf a = {0}, b = {0}, why = {0};
    const char *name;
    bool same = conf_finish(fresh, &name, &why);
    row_print(c, row, &a);
    row_print(fresh, row, &b);
    same = (same && slice_eq(buf_slice(&a), buf_slice(&b))) ||
           (strcmp(row->name, "maxmemory") == 0 && c->maxmemory_is_auto);
    buf_free(&a);
    buf_free(&b);
    buf_free(&why);
    conf_unref(fresh);
    return same;
}

static void put_lines(struct buf *out, const char *name, const char *lines) {
    while (*lines != '\0') {
        size_t n = strcspn(lines, "\n");
        if (n > 0) {
            buf_printf(out, "%s %.*s\n", name, (int)n, lines);
        }
        lines += n + (lines[n] != '\0');
    }
}

/* A variable's sign is said twice where no variable is meant. */
static void put_no_variables(struct buf *out, struct slice text) {
    for (size_t i = 0; i < text.n; i++) {
        buf_puts(out, text.p[i] == '$' ? "$" : "");
        buf_putc(out, text.p[i]);
    }
}

static void put_value(struct buf *out, const struct conf *c, const struct row *row) {
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

static void put_directive(struct buf *out, const struct conf *c, const struct row *row) {
    struct buf text = {0};
    put_value(&text, c, row);
    put_no_variables(out, text.p == NULL ? slice_make("", 0) : buf_slice(&text));
    buf_free(&text);
}

/* One line of the old file: kept, or replaced by the directive's present value. */
static void rewrite_line(struct buf *out, const struct conf *c, struct slice line, bool *done) {
    struct buf bytes = {0};
    struct slice words[MAX_WORDS];
    int n = line.n > 0 && line.p[0] != '#' ? split_words(line, &bytes, words) : 0;
    const struct row *row = n > 0 ? row_find(words[0]) : NULL;
    if (row == NULL) {
        buf_put_slice(out, line);
        buf_putc(out, '\n');
    } else if (!done[row - conf_rows]) {
        put_directive(out, c, row);
        done[row - conf_rows] = true;
    }
    buf_free(&bytes);
}

static bool write_atomically(const char *path, const struct buf *text, struct buf *err) {
    char temp[4200];
    snprintf(temp, sizeof(temp), "%s.%d.tmp", path, (int)getpid());
    FILE *f = fopen(temp, "we");
    bool ok = f != NULL && fwrite(text->p, 1, text->n, f) == text->n && fflush(f) == 0 &&
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
    const char *path = conf_store_file(store);
    struct conf *c = conf_store_current(store);
    struct buf out = {0};
    bool *done = mem_zalloc(conf_row_count);
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    FILE *f = fopen(path, "re");
    while (f != NULL && (n = getline(&line, &cap, f)) >= 0) {
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r')) {
            n--;
        }
        rewrite_line(&out, c, slice_make(line, (size_t)n), done);
    }
    (free)(line); /* getline's */
    if (f != NULL) {
        fclose(f);
    }
    for (unsigned i = 0; i < conf_row_count; i++) {
        if (conf_rows[i].kind != KIND_SECTION && !done[i] && !is_default(c, &conf_rows[i])) {
            put_directive(&out, c, &conf_rows[i]);
        }
    }
    bool ok = write_atomically(path, &out, err);
    mem_free(done);
    buf_free(&out);
    conf_unref(c);
    return ok;
}
