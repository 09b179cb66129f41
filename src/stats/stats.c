/* SPDX-License-Identifier: BSD-3-Clause */
/* stats: counters per loop, summed by readers. */
#include "src/stats/stats.h"

#include "src/base/mem.h"

_Static_assert(sizeof(struct cmd_stats) == 64, "a command's counters are found by a shift");

struct stats *stats_create(unsigned command_count) {
    struct stats *s = mem_zalloc(sizeof(*s));
    s->command_count = command_count;
    s->commands = mem_zalloc(command_count * sizeof(*s->commands));
    return s;
}

void stats_destroy(struct stats **sp) {
    struct stats *s = *sp;
    *sp = NULL;
    for (unsigned i = 0; i < s->command_count; i++) {
        mem_free(atomic_load_explicit(&s->commands[i].more, memory_order_relaxed));
    }
    mem_free(s->commands);
    mem_free(s);
}

struct cmd_more *stats_make_more(struct cmd_stats *s) {
    struct cmd_more *more = mem_zalloc(sizeof(*more));
    atomic_store_explicit(&s->more, more, memory_order_release);
    return more;
}

uint64_t stats_sum(struct stats *const *all, unsigned n, size_t offset) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < n; i++) {
        sum += STAT_GET(*(stat_t *)((char *)all[i] + offset));
    }
    return sum;
}

uint64_t cmd_stats_calls(const struct cmd_stats *s) {
    struct cmd_more *more = atomic_load_explicit(&s->more, memory_order_acquire);
    return more != NULL ? hist_total(&more->latency) : 0;
}

uint64_t cmd_stats_hits(const struct cmd_stats *s) {
    return STAT_GET(s->hits);
}

uint64_t cmd_stats_misses(const struct cmd_stats *s) {
    return STAT_GET(s->misses);
}

uint64_t stats_sum_commands(struct stats *const *all, unsigned n, uint64_t (*counted)(const struct cmd_stats *)) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < n; i++) {
        for (unsigned c = 0; c < all[i]->command_count; c++) {
            sum += counted(&all[i]->commands[c]);
        }
    }
    return sum;
}

void stats_read_command(struct stats *const *all, unsigned n, unsigned id, struct cmd_numbers *out, struct hist_sum *latency) {
    *out = (struct cmd_numbers){0};
    for (unsigned i = 0; i < n; i++) {
        struct cmd_stats *s = &all[i]->commands[id];
        out->ticks += STAT_GET(s->ticks);
        out->rejected += STAT_GET(s->rejected);
        out->failed += STAT_GET(s->failed);
        out->hits += STAT_GET(s->hits);
        out->misses += STAT_GET(s->misses);
        const struct cmd_more *more = atomic_load_explicit(&s->more, memory_order_acquire);
        if (more == NULL) {
            continue;
        }
        out->stale += STAT_GET(more->stale);
        out->negative += STAT_GET(more->negative);
        out->calls += latency != NULL ? hist_read(latency, &more->latency) : hist_total(&more->latency);
    }
}

static void reset_command(struct cmd_stats *s) {
    stat_t *const fields[] = {&s->ticks, &s->rejected, &s->failed, &s->hits, &s->misses};
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        atomic_store_explicit(fields[i], 0, memory_order_relaxed);
    }
    struct cmd_more *more = atomic_load_explicit(&s->more, memory_order_acquire);
    if (more != NULL) {
        hist_reset(&more->latency);
        STAT_SET(more->stale, 0);
        STAT_SET(more->negative, 0);
    }
}

void stats_reset(struct stats *const *all, unsigned n) {
    for (unsigned i = 0; i < n; i++) {
        struct stats *s = all[i];
#define COUNTER(field, section, info_name, doc) atomic_store_explicit(&s->field, 0, memory_order_relaxed);
#include "src/stats/counters.def"
        for (unsigned t = 0; t < STAT_TIERS; t++) {
            tier_stats_reset(&s->tiers[t]);
        }
        tier_stats_reset(&s->forwarded);
        conns_reset(&s->links);
        for (unsigned c = 0; c < s->command_count; c++) {
            reset_command(&s->commands[c]);
        }
    }
}
