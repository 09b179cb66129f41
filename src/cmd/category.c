/* SPDX-License-Identifier: BSD-3-Clause */
/* category: what follows from a row's flags, and the family's own. */
#include "src/cmd/category.h"

#include "src/cmd/cmd.h"

static const char *const names[] = {
    "",
#define CATEGORY(name, word) word,
#include "src/cmd/categories.def"
#undef CATEGORY
};

const char *category_name(enum category c) {
    return names[c];
}

enum category category_find(struct slice word) {
    for (int c = CATEGORY_NONE + 1; c < CATEGORY_COUNT; c++) {
        if (slice_eqi(word, names[c])) {
            return (enum category)c;
        }
    }
    return CATEGORY_NONE;
}

bool cmd_in_category(const struct cmd *cmd, enum category c) {
    switch (c) {
    case CATEGORY_KEYSPACE:
        return cmd->flags & CMD_KEYSPACE;
    case CATEGORY_READ:
        return cmd->flags & CMD_READONLY;
    case CATEGORY_WRITE:
        return cmd->flags & CMD_WRITE;
    case CATEGORY_ADMIN:
        return cmd->flags & (CMD_ADMIN | CMD_ADMIN_CATEGORY);
    case CATEGORY_DANGEROUS:
        return cmd->flags & (CMD_DANGEROUS | CMD_ADMIN);
    case CATEGORY_FAST:
        return cmd->flags & CMD_FAST;
    case CATEGORY_SLOW:
        return !(cmd->flags & CMD_FAST);
    case CATEGORY_BLOCKING:
        return cmd->flags & CMD_BLOCKING;
    case CATEGORY_PUBSUB:
        return cmd->flags & CMD_PUBSUB;
    default:
        break;
    }
    bool only_subcommands = cmd->run == NULL; /* belongs to nothing itself */
    return (c == CATEGORY_CONNECTION && (cmd->flags & CMD_CONNECTION)) || (!only_subcommands && family_at(cmd->family)->category == c);
}
