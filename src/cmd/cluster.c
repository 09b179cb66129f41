/* SPDX-License-Identifier: BSD-3-Clause */
/* cluster: the commands of Redis Cluster, which clients probe for. This server is no part of one, and says so in Redis's words. */
#include "src/cmd/call.h"

static enum err disabled_run(struct call *c) {
    return call_errorf(c, "ERR This instance has cluster support disabled");
}

#define ROW(nm, args, n, fl, ver, text, hint) \
    {.name = nm, .syntax = args, .arity = n, .flags = CMD_STALE | (fl), .run = disabled_run, .since = ver, .cost = "O(1)", .summary = text, .tips = hint}
#define ASKS(nm, args, n, ver, text) ROW(nm, args, n, 0, ver, text, NULL)
#define TELLS(nm, args, n, fl, ver, text) ROW(nm, args, n, fl, ver, text, "nondeterministic_output")
#define CHANGES(nm, args, n, ver, text) ROW(nm, args, n, CMD_ADMIN | CMD_NO_ASYNC_LOADING, ver, text, NULL)

static const struct command cluster_subs[] = {
    CHANGES("addslots", "slot [slot ...]", -3, "3.0.0", "Refused: no cluster."),
    CHANGES("addslotsrange", "start-slot end-slot [start-slot end-slot ...]", -4, "7.0.0", "Refused: no cluster."),
    ROW("bumpepoch", "", 2, CMD_ADMIN | CMD_NO_ASYNC_LOADING, "3.0.0", "Refused: no cluster.", "nondeterministic_output"),
    TELLS("count-failure-reports", "node-id", 3, CMD_ADMIN, "3.0.0", "Refused: no cluster."),
    ASKS("countkeysinslot", "slot", 3, "3.0.0", "Refused: no cluster."),
    CHANGES("delslots", "slot [slot ...]", -3, "3.0.0", "Refused: no cluster."),
    CHANGES("delslotsrange", "start-slot end-slot [start-slot end-slot ...]", -4, "7.0.0", "Refused: no cluster."),
    CHANGES("failover", "[FORCE | TAKEOVER]", -2, "3.0.0", "Refused: no cluster."),
    CHANGES("flushslots", "", 2, "3.0.0", "Refused: no cluster."),
    CHANGES("forget", "node-id", 3, "3.0.0", "Refused: no cluster."),
    TELLS("getkeysinslot", "slot count", 4, 0, "3.0.0", "Refused: no cluster."),
    ROW("help", "", 2, CMD_LOADING, "5.0.0", "Refused: no cluster.", NULL),
    TELLS("info", "", 2, 0, "3.0.0", "Refused: no cluster."),
    ASKS("keyslot", "key", 3, "3.0.0", "Refused: no cluster."),
    TELLS("links", "", 2, 0, "7.0.0", "Refused: no cluster."),
    CHANGES("meet", "ip port [cluster-bus-port]", -4, "3.0.0", "Refused: no cluster."),
    ASKS("myid", "", 2, "3.0.0", "Refused: no cluster."),
    ASKS("myshardid", "", 2, "7.2.0", "Refused: no cluster."),
    TELLS("nodes", "", 2, 0, "3.0.0", "Refused: no cluster."),
    TELLS("replicas", "node-id", 3, CMD_ADMIN, "5.0.0", "Refused: no cluster."),
    CHANGES("replicate", "node-id", 3, "3.0.0", "Refused: no cluster."),
    ROW("reset", "[HARD | SOFT]", -2, CMD_ADMIN | CMD_NOSCRIPT, "3.0.0", "Refused: no cluster.", NULL),
    CHANGES("saveconfig", "", 2, "3.0.0", "Refused: no cluster."),
    CHANGES("set-config-epoch", "config-epoch", 3, "3.0.0", "Refused: no cluster."),
    CHANGES("setslot", "slot IMPORTING node-id | MIGRATING node-id | NODE node-id | STABLE", -4, "3.0.0", "Refused: no cluster."),
    TELLS("shards", "", 2, 0, "7.0.0", "Refused: no cluster."),
    TELLS("slaves", "node-id", 3, CMD_ADMIN, "3.0.0", "Refused: no cluster."),
    TELLS("slots", "", 2, 0, "3.0.0", "Refused: no cluster."),
    {0}};

#define SWITCH(nm, fl) \
    {.name = nm, .syntax = "", .arity = 1, .flags = CMD_FAST | CMD_CONNECTION | (fl), .run = disabled_run, .since = "3.0.0", .cost = "O(1)", \
     .summary = "Refused: no cluster."}

const struct command cluster_commands[] = {
    SWITCH("asking", 0),
    {.name = "cluster", .syntax = "subcommand [argument ...]", .arity = -2, .sub = cluster_subs, .flags = 0, .since = "3.0.0",
     .cost = "O(1)", .summary = "Refused: no cluster."},
    SWITCH("readonly", CMD_LOADING | CMD_STALE),
    SWITCH("readwrite", CMD_LOADING | CMD_STALE),
    {0}};
