/* SPDX-License-Identifier: BSD-3-Clause */
/* rules: between the configuration and the guard. */
#include "src/server/rules.h"

#include <stdio.h>

#include "cluster/settings.h"
#include "src/base/buf.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/conf/row.h"
#include "src/guard/rule.h"
#include "src/origin/origin.h"
#include "src/rt/loop.h"
#include "src/server/purge_log.h"
#include "src/server/server.h"
#include "src/server/worker.h"
#include "src/tier/guard.h"
#include "src/tier/write.h"

static bool check_line(const char *directive, struct slice line, struct buf *why) {
    return strcmp(directive, "policy") == 0 ? rule_check(line, why) : origin_check(line, why);
}

static bool check_policies(const struct conf *c, struct conf_fault *fault, struct buf *why) {
    struct rules *rules = rules_create(c->policy, NULL);
    bool ok = true;
    fault->name = "policy";
    for (unsigned i = 0; ok && rules != NULL && i < rules->count; i++) {
        const char *origin = rules->list[i]->opt.origin;
        snprintf(fault->word, sizeof(fault->word), "%.*s", SLICE_ARG(rules->list[i]->pattern));
        if (origin[0] != '\0' && !origin_named(c->origin, slice_cstr(origin))) {
            buf_printf(why, "policy %.*s: origin=%s is not defined; allowed: the NAME of an `origin NAME URL` line",
                       SLICE_ARG(rules->list[i]->pattern), origin);
            ok = false;
        } else if (rules->list[i]->opt.write != WRITE_OFF && !origin_writes(c->origin, slice_cstr(origin))) {
            buf_printf(why, "policy %.*s: origin=%s takes no writes; allowed: an origin whose URL begins with",
                       SLICE_ARG(rules->list[i]->pattern), origin);
            origin_print_writers(why);
            ok = false;
        }
    }
    if (ok) {
        fault->word[0] = '\0';
    }
    if (ok && rules != NULL && rules->quotas > RULE_QUOTAS_MAX) {
        buf_printf(why, "%u policies have a quota; allowed: quota=SIZE in at most %d of them", rules->quotas, RULE_QUOTAS_MAX);
        ok = false;
    }
    rules_unref(rules);
    return ok;
}

static bool check_all(const struct conf *c, struct conf_fault *fault, struct buf *why) {
    return check_policies(c, fault, why) && cluster_settings_check(c, &fault->name, why);
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

/* ---- filters ---- */

/* One filter on its way from the disk. */
struct filter_fetch {
    struct msg msg;
    struct server *srv;
    struct fill fill;
    struct key key;
    bool wanted;
    char name[];
};

static void fetch_step(struct filter_fetch *f) {
    struct server *srv = f->srv;
    struct l1 *l1 = srv->host.l1;
    int64_t now_ms = clock_now_ms();
    f->key = key_make(f->key.name, l1->db_map[0]);
    unsigned shard = l1_shard_of(l1, f->key.hash);
    l1_lock(l1, shard);
    bool waits = fill_begin(&f->fill, now_ms);
    if (!waits) {
        struct rules *rules = guard_rules(srv->tier.guard);
        guard_seen(srv->tier.guard, rules, &f->key, now_ms);
        rules_unref(rules);
    }
    l1_unlock(l1, shard);
    if (waits) {
        fill_launch(&f->fill, now_ms);
        return;
    }
    fill_end(&f->fill);
    mem_free(f);
}

static void fetch_resumed(struct fill *fill) {
    fetch_step((struct filter_fetch *)((char *)fill - offsetof(struct filter_fetch, fill)));
}

static void fetch_start(struct loop *loop, struct msg *msg) {
    (void)loop;
    fetch_step((struct filter_fetch *)msg);
}

static void fetch_filter(struct server *srv, const struct rule *rule) {
    struct filter_fetch *f = mem_zalloc(sizeof(*f) + rule->pattern.n);
    memcpy(f->name, rule->pattern.p, rule->pattern.n);
    f->srv = srv;
    f->key.name = slice_make(f->name, rule->pattern.n);
    f->wanted = true;
    f->msg.run = fetch_start;
    f->fill = (struct fill){.tier = &srv->tier, .loop = srv->workers[0]->loop, .keys = &f->key, .wanted = &f->wanted, .n = 1,
                            .background = true, .resume = fetch_resumed};
    loop_post(srv->workers[0]->loop, &f->msg);
}

void rules_fetch_filters(struct server *srv) {
    struct rules *rules = guard_rules(srv->tier.guard);
    for (unsigned i = 0; rules != NULL && i < rules->count; i++) {
        if (rules->list[i]->opt.filter != FILTER_OFF) {
            fetch_filter(srv, rules->list[i]);
        }
    }
    rules_unref(rules);
}

/* The end of a policy's line: how long calls with its keys took. */
static void put_latency(const struct rule *rule, struct buf *out) {
    struct hist_sum h = {0};
    rule_latency_read(rule->stats, &h);
    buf_printf(out, ",calls=%llu", (unsigned long long)h.count);
    for (int i = 0; i < HIST_PERCENTS; i++) {
        buf_printf(out, ",latency_us_p%.10g=%llu", hist_percents[i], (unsigned long long)clock_ticks_to_us(hist_quantile(&h, hist_percents[i])));
    }
    buf_puts(out, "\r\n");
}

void rules_info(struct server *srv, struct buf *out) {
    static const char *const names[] = {
#define X(name, doc) #name,
        RULE_COUNTERS(X)
#undef X
    };
    struct guard *g = srv->tier.guard;
    struct rules *rules = guard_rules(g);
    buf_printf(out, "guard_policies:%u\r\nguard_leases:%llu\r\nguard_absent_keys:%zu\r\nguard_absent_bytes:%zu\r\nguard_loads:%llu\r\nguard_purges:%zu\r\nguard_purges_file_bytes:%lld\r\n",
               rules != NULL ? rules->count : 0, (unsigned long long)atomic_load_explicit(&g->leases_live, memory_order_relaxed),
               marks_count(g->marks), marks_bytes(g->marks),
               (unsigned long long)atomic_load_explicit(&srv->tier.loads, memory_order_relaxed), purges_count(g->purges),
               srv->purge_log != NULL ? (long long)purge_log_bytes(srv->purge_log) : 0);
    for (unsigned i = 0; rules != NULL && i < rules->count; i++) {
        const struct rule *rule = rules->list[i];
        buf_puts(out, "policy_");
        put_word(rule->pattern, out); /* quoted where it would break the line */
        buf_putc(out, ':');
        for (int k = 0; k < RULE_COUNTER_COUNT; k++) {
            buf_printf(out, "%s%s=%llu", k > 0 ? "," : "", names[k],
                       (unsigned long long)rule_count_read(rule->stats, (enum rule_counter)k));
        }
        struct l1_group used;
        guard_quota_read(g, rule, &used);
        buf_printf(out, ",quota_bytes=%llu,quota_keys=%llu,quota_evicted=%llu", (unsigned long long)used.bytes,
                   (unsigned long long)used.items, (unsigned long long)used.evicted);
        put_latency(rule, out);
    }
    rules_unref(rules);
    writes_info(srv->tier.writes, out);
    if (srv->origins != NULL) {
        origins_info(srv->origins, out);
    }
}
