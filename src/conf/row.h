/* SPDX-License-Identifier: BSD-3-Clause */
/* row: a named setting as data: where it lives in a struct, what it may be, how it is written. Directives are such rows, and so
 * are the options of policies and origins. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/buf.h"
#include "src/base/slice.h"

/* The C type of the field in brackets. */
enum conf_kind {
    KIND_BOOL,    /* bool */
    KIND_INT,     /* int64_t */
    KIND_SIZE,    /* int64_t, bytes */
    KIND_DUR_MS,  /* int64_t, milliseconds */
    KIND_DUR_S,   /* int64_t, seconds */
    KIND_PERCENT, /* int64_t, millionths; -1 for `auto` when that is among the choices */
    KIND_STR,     /* char *, owned */
    KIND_LINES,   /* char *, owned: a directive that may be repeated, one line each */
    KIND_ENUM,    /* int, index among the choices */
    KIND_SECTION  /* none: a title */
};

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

/* Sets one field of the struct at base from text. False with "reason; allowed: ..." in why. */
bool row_parse(void *base, const struct row *row, struct slice text, struct buf *why);
void row_print(const void *base, const struct row *row, struct buf *out);
/* What a value may be, in words. */
void row_allowed(const struct row *row, struct buf *out);
/* The same for the struct of a whole table: defaults into a zeroed struct; a copy of what the fields own; freeing it. */
void rows_init(void *base, const struct row *rows, unsigned count);
void rows_copy(void *base, const struct row *rows, unsigned count);
void rows_free(void *base, const struct row *rows, unsigned count);

/* `name=value` words into the struct at base. False with the reason in why: unknown name, bad value, said twice. */
bool options_parse(void *base, const struct row *rows, unsigned count, const struct slice *words, int n, struct buf *why);
/* Appends " name=value" for each option that is not at its default. */
void options_print(const void *base, const struct row *rows, unsigned count, struct buf *out);

/* A table of them for the documentation. */
void options_docs(const struct row *rows, unsigned count, struct buf *out);

/* Splits a line by spaces with redis.conf's quotes; words are owned by the caller (buf of bytes, NUL-terminated words,
 * words[] pointing in). -1: unbalanced quotes. */
enum { MAX_WORDS = 512 };
int split_words(struct slice line, struct buf *bytes, struct slice *words);
/* Appends a word, quoted where it must be for split_words to give it back. */
void put_word(struct slice word, struct buf *out);
