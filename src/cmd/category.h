/* SPDX-License-Identifier: BSD-3-Clause */
/* category: the ACL categories of commands, derived from their rows: COMMAND INFO, COMMAND LIST FILTERBY ACLCAT, ACL CAT. */
#pragma once

#include <stdbool.h>

#include "src/base/slice.h"

struct cmd;

enum category {
    CATEGORY_NONE,
#define CATEGORY(name, word) CATEGORY_##name,
#include "src/cmd/categories.def"
#undef CATEGORY
    CATEGORY_COUNT
};

/* "string"; CATEGORY_NONE has none. */
const char *category_name(enum category c);
/* CATEGORY_NONE for an unknown word. Folds case. */
enum category category_find(struct slice word);
bool cmd_in_category(const struct cmd *cmd, enum category c);
