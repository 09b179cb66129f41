/* SPDX-License-Identifier: BSD-3-Clause */
/* rows: the directives as data, private to this folder. */
#pragma once

#include "src/conf/conf.h"

enum conf_kind { KIND_BOOL, KIND_INT, KIND_SIZE, KIND_DUR_MS, KIND_DUR_S, KIND_STR, KIND_ENUM, KIND_SECTION };

struct row {
    enum conf_kind kind;
    const char *name; /* SECTION: its title */
    const char *def;
    int64_t min, max;
    unsigned flags;
    const char *choices;
    const char *doc;
    size_t offset;
};

struct no_effect_row {
    const char *name, *def;
};

extern const struct row conf_rows[];
extern const unsigned conf_row_count;
extern const struct no_effect_row no_effect_rows[];
extern const unsigned no_effect_count;

/* NULL when unknown. index: of a no-effect row. */
const struct row *row_find(struct slice name);
int no_effect_find(struct slice name);
/* Sets one field from text. False with "reason; allowed: ..." in why. */
bool row_parse(struct conf *c, const struct row *row, struct slice text, struct buf *why);
void row_print(const struct conf *c, const struct row *row, struct buf *out);
/* What a value may be, in words. */
void row_allowed(const struct row *row, struct buf *out);
struct conf *conf_create(void); /* the defaults */
struct conf *conf_copy(const struct conf *c);
/* Checks and derives what depends on several fields or on the machine. False with the reason. */
bool conf_finish(struct conf *c, const char **name, struct buf *why);
void no_effect_set(struct conf *c, int index, struct slice text);

/* Splits a line by spaces with redis.conf's quotes; words are owned by the caller (buf of bytes, NUL-terminated words,
 * words[] pointing in). -1: unbalanced quotes. */
enum { MAX_WORDS = 512 };
int split_words(struct slice line, struct buf *bytes, struct slice *words);
