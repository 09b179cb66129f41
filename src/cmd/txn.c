/* SPDX-License-Identifier: BSD-3-Clause */
/* txn: the rows of the transaction commands; the queue and its execution belong to the server. */
#include "src/cmd/call.h"

static enum err multi_run(struct call *c) {
    return c->host->ops->multi(c);
}

static enum err exec_run(struct call *c) {
    return c->host->ops->exec(c);
}

static enum err discard_run(struct call *c) {
    return c->host->ops->discard(c);
}

static enum err watch_run(struct call *c) {
    return c->host->ops->watch(c);
}

static enum err unwatch_run(struct call *c) {
    return c->host->ops->unwatch(c);
}

#define TXN_FLAGS (CMD_NOSCRIPT | CMD_LOADING | CMD_STALE)

const struct command txn_commands[] = {
    {.name = "multi",
     .syntax = "",
     .arity = 1,
     .flags = TXN_FLAGS | CMD_FAST | CMD_ALLOW_BUSY | CMD_DIRECT,
     .run = multi_run,
     .since = "1.2.0",
     .cost = "O(1)",
     .summary = "Begins a transaction: calls are queued until EXEC."},
    {.name = "exec",
     .syntax = "",
     .arity = 1,
     .flags = TXN_FLAGS | CMD_SKIP_SLOWLOG | CMD_DIRECT | CMD_EXEC,
     .run = exec_run,
     .since = "1.2.0",
     .cost = "Depends on the queued calls.",
     .summary = "Runs the queued calls as one atomic step."},
    {.name = "discard",
     .syntax = "",
     .arity = 1,
     .flags = TXN_FLAGS | CMD_FAST | CMD_ALLOW_BUSY | CMD_DIRECT,
     .run = discard_run,
     .since = "2.0.0",
     .cost = "O(N), where N is the number of queued calls.",
     .summary = "Drops the queued calls and the watches."},
    {.name = "watch",
     .syntax = "key [key ...]",
     .arity = -2,
     .keys = "1..-1:M",
     .flags = TXN_FLAGS | CMD_FAST | CMD_ALLOW_BUSY | CMD_DIRECT,
     .run = watch_run,
     .since = "2.2.0",
     .cost = "O(1) for every key.",
     .summary = "Makes the next EXEC fail if one of the keys changes before it."},
    {.name = "unwatch",
     .syntax = "",
     .arity = 1,
     .flags = TXN_FLAGS | CMD_FAST | CMD_ALLOW_BUSY,
     .run = unwatch_run,
     .since = "2.2.0",
     .cost = "O(1)",
     .summary = "Forgets all watched keys of the connection."},
    {0}};
