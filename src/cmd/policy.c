/* SPDX-License-Identifier: BSD-3-Clause */
/* policy: the POLICY command: rules for keys by pattern, at run time. They are the `policy` lines of the configuration, so that
 * CONFIG GET, SET and REWRITE see the same. */
#include "src/cmd/call.h"
#include "src/conf/row.h"
#include "src/tier/tier.h"

/* The policies without that of a pattern, and with a new line (n 0: none). False with what is wrong. */
static bool edit(struct call *c, struct slice pattern, struct slice line, struct buf *why) {
    struct guard *g = c->host->tier->guard;
    struct buf lines = {0};
    lock_acquire(&g->editing);
    struct conf *now = conf_store_current(c->host->conf_store);
    rules_edit(now->policy, pattern, line, &lines);
    conf_unref(now);
    struct slice name, pair[2] = {SLICE("policy"), lines.p == NULL ? slice_make("", 0) : buf_slice(&lines)};
    bool ok = conf_store_change(c->host->conf_store, pair, 1, &name, why);
    lock_release(&g->editing);
    buf_free(&lines);
    if (ok) {
        c->host->ops->conf_changed(c->host);
    }
    return ok;
}

static enum err policy_set_run(struct call *c) {
    struct buf line = {0}, why = {0};
    for (int i = 2; i < c->argc; i++) {
        if (i > 2) {
            buf_putc(&line, ' ');
        }
        put_word(c->argv[i], &line);
    }
    bool ok = rule_check(buf_slice(&line), &why) && edit(c, c->argv[2], buf_slice(&line), &why);
    if (ok) {
        reply_ok(c->out);
    } else {
        call_errorf(c, "ERR %.*s", (int)why.n, why.p);
    }
    buf_free(&line);
    buf_free(&why);
    return ok ? OK : ERR_REPLIED;
}

static enum err policy_del_run(struct call *c) {
    struct rules *rules = guard_rules(c->host->tier->guard);
    bool found = rules_find(rules, c->argv[2]) != NULL;
    struct buf why = {0};
    rules_unref(rules);
    bool ok = !found || edit(c, c->argv[2], slice_make("", 0), &why);
    if (ok) {
        reply_int(c->out, found);
    } else {
        call_errorf(c, "ERR %.*s", (int)why.n, why.p);
    }
    buf_free(&why);
    return ok ? OK : ERR_REPLIED;
}

/* "pattern option=value ..." */
static void reply_rule(struct call *c, const struct rule *rule) {
    struct buf b = {0};
    put_word(rule->pattern, &b);
    rule_print(rule, &b);
    reply_bulk(c->out, buf_slice(&b));
    buf_free(&b);
}

static enum err policy_list_run(struct call *c) {
    struct rules *rules = guard_rules(c->host->tier->guard);
    unsigned n = rules != NULL ? rules->count : 0;
    reply_array(c->out, n);
    for (unsigned i = 0; i < n; i++) {
        reply_rule(c, rules->list[i]);
    }
    rules_unref(rules);
    return OK;
}

static enum err policy_get_run(struct call *c) {
    static const char *const names[] = {
#define X(name, doc) #name,
        RULE_COUNTERS(X)
#undef X
    };
    struct rules *rules = guard_rules(c->host->tier->guard);
    const struct rule *rule = rules_find(rules, c->argv[2]);
    if (rule == NULL) {
        reply_null(c->out);
    } else {
        struct l1_group used;
        guard_quota_read(c->host->tier->guard, rule, &used);
        reply_map(c->out, 4 + RULE_COUNTER_COUNT);
        reply_bulk_cstr(c->out, "policy");
        reply_rule(c, rule);
        for (int i = 0; i < RULE_COUNTER_COUNT; i++) {
            reply_bulk_cstr(c->out, names[i]);
            reply_int(c->out, (int64_t)rule_count_read(rule->stats, (enum rule_counter)i));
        }
        reply_bulk_cstr(c->out, "quota_bytes");
        reply_int(c->out, (int64_t)used.bytes);
        reply_bulk_cstr(c->out, "quota_keys");
        reply_int(c->out, (int64_t)used.items);
        reply_bulk_cstr(c->out, "quota_evicted");
        reply_int(c->out, (int64_t)used.evicted);
    }
    rules_unref(rules);
    return OK;
}

static enum err policy_match_run(struct call *c) {
    struct rules *rules = guard_rules(c->host->tier->guard);
    const struct rule *rule = rules_match(rules, c->argv[2]);
    if (rule == NULL) {
        reply_null(c->out);
    } else {
        reply_rule(c, rule);
    }
    rules_unref(rules);
    return OK;
}

static enum err policy_help_run(struct call *c) {
    static const char *const lines[] = {
        "SET <pattern> [<option>=<value> ...]", "    Set what is to be done for keys that match <pattern>; see docs/guards.md.",
        "GET <pattern>", "    Return the policy of <pattern> and its counters.",
        "LIST", "    Return all policies.",
        "DEL <pattern>", "    Remove the policy of <pattern>.",
        "MATCH <key>", "    Return the policy that applies to <key>.", NULL};
    return call_reply_help(c, lines);
}

#define ADM (CMD_ADMIN | CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_DANGEROUS)

static const struct command policy_subs[] = {
    {.name = "del", .syntax = "pattern", .arity = 3, .flags = ADM, .run = policy_del_run, .since = "7.2.0", .cost = "O(N) for N policies", .summary = "Removes the policy of a pattern."},
    {.name = "get", .syntax = "pattern", .arity = 3, .flags = ADM, .run = policy_get_run, .since = "7.2.0", .cost = "O(N) for N policies", .summary = "Returns the policy of a pattern and its counters."},
    {.name = "help", .syntax = "", .arity = 2, .flags = CMD_LOADING | CMD_STALE, .run = policy_help_run, .since = "7.2.0", .cost = "O(1)", .summary = "Lists the subcommands."},
    {.name = "list", .syntax = "", .arity = 2, .flags = ADM, .run = policy_list_run, .since = "7.2.0", .cost = "O(N) for N policies", .summary = "Returns all policies."},
    {.name = "match", .syntax = "key", .arity = 3, .flags = ADM, .run = policy_match_run, .since = "7.2.0", .cost = "O(1)", .summary = "Returns the policy that applies to a key."},
    {.name = "set", .syntax = "pattern [option=value [option=value ...]]", .arity = -3, .flags = ADM, .run = policy_set_run, .since = "7.2.0", .cost = "O(N) for N policies", .summary = "Sets the policy of a pattern."},
    {0}};

const struct command policy_commands[] = {
    {.name = "policy", .syntax = "subcommand [argument ...]", .arity = -2, .sub = policy_subs, .flags = 0, .since = "7.2.0",
     .cost = "Depends on the subcommand.", .summary = "Reads and changes what is done for keys by pattern."},
    {0}};
