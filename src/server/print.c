/* SPDX-License-Identifier: BSD-3-Clause */
/* print: the program's tables as text. */
#include "src/server/print.h"

#include <stdio.h>
#include <string.h>

#include "src/base/buf.h"
#include "src/base/err.h"
#include "src/base/lock.h"
#include "src/cmd/cmd.h"
#include "src/conf/conf.h"

static void each_row(void (*fn)(struct buf *out, const struct cmd *cmd), struct buf *out) {
    for (unsigned i = 0; i < registry_count(); i++) {
        fn(out, registry_at(i));
    }
}

static void commands_line(struct buf *out, const struct cmd *cmd) {
    buf_printf(out, "%s\t%s\t%d\t%s\t%s\n", family_at(cmd->family)->name, cmd->full_name,
               cmd->arity, cmd->row->keys != NULL ? cmd->row->keys : "-", cmd->row->syntax);
}

static void print_commands(struct buf *out) {
    each_row(commands_line, out);
}

static void docs_commands(struct buf *out) {
    buf_puts(out, "# Commands\n\nGenerated from the command table: `strata-server --print docs:commands`.\n");
    for (unsigned f = 0; f < family_count(); f++) {
        const struct family *family = family_at(f);
        buf_printf(out, "\n## %s\n\n| command | arguments | cost | since Redis | what it does |\n|---|---|---|---|---|\n",
                   family->title);
        for (unsigned i = 0; i < registry_count(); i++) {
            const struct cmd *cmd = registry_at(i);
            if (cmd->family != f) {
                continue;
            }
            buf_printf(out, "| `%s` | ", cmd->full_name);
            for (const char *p = cmd->row->syntax; *p != '\0'; p++) {
                buf_printf(out, *p == '|' ? "\\%c" : "%c", *p);
            }
            buf_printf(out, " | %s | %s | %s |\n", cmd->row->cost != NULL ? cmd->row->cost : "",
                       cmd->row->since != NULL ? cmd->row->since : "", cmd->row->summary);
        }
    }
}

struct counter {
    const char *section, *name, *doc;
};

static const struct counter counters[] = {
#define COUNTER(field, section, info_name, doc) {section, info_name, doc},
#include "src/stats/counters.def"
#undef COUNTER
};

static void print_stats(struct buf *out) {
    for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++) {
        buf_printf(out, "%s\t%s\t%s\n", counters[i].section, counters[i].name, counters[i].doc);
    }
}

static void docs_stats(struct buf *out) {
    buf_puts(out, "# Statistics\n\nGenerated from the table of counters: `strata-server --print docs:stats`. "
                  "All are kept per event loop and summed by INFO.\n\n"
                  "| INFO section | field | what it counts |\n|---|---|---|\n");
    for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++) {
        buf_printf(out, "| %s | `%s` | %s |\n", counters[i].section, counters[i].name, counters[i].doc);
    }
}

static void print_errors(struct buf *out) {
    for (int e = OK + 1; e < ERR_COUNT; e++) {
        if (err_text((enum err)e)[0] != '\0') {
            buf_printf(out, "%s\t%s\n", err_name((enum err)e), err_text((enum err)e));
        }
    }
}

static void docs_errors(struct buf *out) {
    buf_puts(out, "# Error replies\n\nGenerated from the table of errors: `strata-server --print docs:errors`. "
                  "Texts with arguments are made where they arise.\n\n| name | text |\n|---|---|\n");
    for (int e = OK + 1; e < ERR_COUNT; e++) {
        if (err_text((enum err)e)[0] != '\0') {
            buf_printf(out, "| %s | `%s` |\n", err_name((enum err)e), err_text((enum err)e));
        }
    }
}

static void docs_locking(struct buf *out) {
    buf_puts(out, "# Locks\n\nGenerated from the table of locks: `strata-server --print docs:locking`. A thread takes "
                  "locks in rising rank, several of one class in rising order; debug builds check it.\n\n"
                  "| lock | rank | what it protects |\n|---|---|---|\n");
    for (int i = 0; i < LOCK_CLASS_COUNT; i++) {
        buf_printf(out, "| %s | %d | %s |\n", lock_class_name((enum lock_class)i),
                   lock_class_rank((enum lock_class)i), lock_class_doc((enum lock_class)i));
    }
}

static const struct {
    const char *name;
    void (*fn)(struct buf *out);
} tables[] = {
    {"conf", conf_print_file},      {"commands", print_commands},     {"stats", print_stats},
    {"errors", print_errors},       {"locks", docs_locking},          {"docs:commands", docs_commands},
    {"docs:config", conf_print_docs}, {"docs:stats", docs_stats},     {"docs:errors", docs_errors},
    {"docs:locking", docs_locking},
};

bool print_table(const char *name) {
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        if (strcmp(name, tables[i].name) == 0) {
            struct buf out = {0};
            tables[i].fn(&out);
            fwrite(out.p, 1, out.n, stdout);
            buf_free(&out);
            return true;
        }
    }
    fprintf(stderr, "--print %s: no such table; allowed:", name);
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        fprintf(stderr, " %s", tables[i].name);
    }
    fputc('\n', stderr);
    return false;
}
