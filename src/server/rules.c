/* SPDX-License-Identifier: BSD-3-Clause */
/* rules: between the configuration and the guard. */
#include "src/server/rules.h"

#include "src/base/buf.h"
#include "src/guard/rule.h"
#include "src/origin/origin.h"
#include "src/server/server.h"
#include "src/tier/guard.h"

static bool check_line(const char *directive, struct slice line, struct buf *why) {
    return strcmp(directive, "policy") == 0 ? rule_check(line, why) : origin_check(line, why);
}

static bool check_all(const struct conf *c, const char **name, struct buf *why) {
    struct rules *rules = rules_create(c->policy, NULL);
    bool ok = true;
    *name = "policy";
    for (unsigned i = 0; ok && rules != NULL && i < rules->count; i++) {
        const char *origin = rules->list[i]->opt.origin;
        if (origin[0] != '\0' && !origin_named(c->origin, slice_cstr(origin))) {
            buf_printf(why, "policy %.*s: origin=%s is not defined; allowed: the NAME of an `origin NAME URL` line",
                       SLICE_ARG(rules->list[i]->pattern), origin);
            ok = false;
        }
    }
    rules_unref(rules);
    return ok;
}

const struct conf_hooks rules_hooks = {.line = check_line, .all = check_all};

static void *find_target(void *ctx, struct slice origin) {
    struct server *srv = ctx;
    return srv->origins != NULL ? origins_find(srv->origins, origin) : NULL;
}

void rules_apply(struct server *srv) {
    struct guard *g = srv->tier.guard;
    lock_acquire(&g->editing); /* of two at once the later configuration stays in force */
    struct conf *conf = conf_store_current(srv->host.conf_store);
    struct rules *before = guard_rules(g), *rules = rules_create(conf->policy, before);
    if (rules != NULL) {
        rules_bind(rules, find_target, srv);
    }
    guard_set_rules(g, rules);
    lock_release(&g->editing);
    rules_unref(before);
    conf_unref(conf);
}

void rules_info(struct server *srv, struct buf *out) {
    static const char *const names[] = {
#define X(name, doc) #name,
        RULE_COUNTERS(X)
#undef X
    };
    struct guard *g = srv->tier.guard;
    struct rules *rules = guard_rules(g);
    buf_printf(out, "guard_policies:%u\r\nguard_leases:%llu\r\nguard_absent_keys:%zu\r\nguard_absent_bytes:%zu\r\nguard_loads:%llu\r\nguard_purges:%zu\r\n",
               rules != NULL ? rules->count : 0, (unsigned long long)atomic_load_explicit(&g->leases_live, memory_order_relaxed),
               marks_count(g->marks), marks_bytes(g->marks),
               (unsigned long long)atomic_load_explicit(&srv->tier.loads, memory_order_relaxed), purges_count(g->purges));
    for (unsigned i = 0; rules != NULL && i < rules->count; i++) {
        const struct rule *rule = rules->list[i];
        buf_printf(out, "policy_%.*s:", SLICE_ARG(rule->pattern));
        for (int k = 0; k < RULE_COUNTER_COUNT; k++) {
            buf_printf(out, "%s%s=%llu", k > 0 ? "," : "", names[k],
                       (unsigned long long)rule_count_read(rule->stats, (enum rule_counter)k));
        }
        buf_puts(out, "\r\n");
    }
    rules_unref(rules);
    if (srv->origins != NULL) {
        origins_info(srv->origins, out);
    }
}
