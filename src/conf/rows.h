/* SPDX-License-Identifier: BSD-3-Clause */
/* rows: the directives as data, private to this folder. */
#pragma once

#include "src/conf/conf.h"
#include "src/conf/row.h"

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
struct conf *conf_create(void); /* the defaults */
struct conf *conf_copy(const struct conf *c);
/* Checks and derives what depends on several fields or on the machine. False with the reason. */
bool conf_finish(struct conf *c, const char **name, struct buf *why);
const struct conf_hooks *conf_store_hooks(const struct conf_store *store); /* or NULL */
void no_effect_set(struct conf *c, int index, struct slice text);
