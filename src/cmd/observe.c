/* SPDX-License-Identifier: BSD-3-Clause */
/* observe: SLOWLOG, LATENCY. */
#include "src/cmd/observe.h"

#include <stdio.h>
#include <string.h>

#include "src/base/clock.h"
#include "src/cmd/call.h"
#include "src/stats/latency.h"
#include "src/stats/slowlog.h"

/* ---- SLOWLOG ---- */

struct slow_listing {
    struct out *out;
    bool steps; /* with the elements that Redis does not have: some clients read no more than six */
};

static void reply_slow(void *ctx, const struct slow_entry *e) {
    const struct slow_listing *l = ctx;
    struct out *o = l->out;
    reply_array(o, l->steps ? 9 : 6);
    reply_int(o, e->id);
    reply_int(o, e->time_s);
    reply_int(o, (int64_t)e->us);
    reply_array(o, e->argc);
    for (int i = 0; i < e->argc; i++) {
        reply_bulk(o, slice_make(e->argv[i], e->argn[i]));
    }
    reply_bulk_cstr(o, e->addr);
    reply_bulk_cstr(o, e->name);
    if (l->steps) {
        reply_bulk_cstr(o, e->where.step);
        reply_bulk_cstr(o, e->where.tier);
        reply_int(o, (int64_t)e->where.waited_us);
    }
}

static enum err slowlog_get_run(struct call *c) {
    int64_t n = 10;
    struct slow_listing l = {.out = c->out, .steps = c->argc == 4 && arg_is(c, 3, "steps")};
    if (c->argc > 3 && !l.steps) {
        return call_too_many(c);
    }
    if (c->argc >= 3 && (!num_parse_i64(c->argv[2], &n) || n < -1)) {
        return call_errorf(c, "ERR count should be greater than or equal to -1");
    }
    struct reply_deferred d = reply_defer(c->out, '*');
    size_t got = slowlog_each(c->host->slowlog, n < 0 ? SIZE_MAX : (size_t)n, reply_slow, &l);
    reply_defer_end(c->out, d, (int64_t)got);
    return OK;
}

static enum err slowlog_len_run(struct call *c) {
    reply_int(c->out, (int64_t)slowlog_len(c->host->slowlog));
    return OK;
}

static enum err slowlog_reset_run(struct call *c) {
    slowlog_reset(c->host->slowlog);
    reply_ok(c->out);
    return OK;
}

static enum err slowlog_help_run(struct call *c) {
    static const char *const lines[] = {"GET [<count> [STEPS]]", "    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
                                        "    Entries are made of:",
                                        "    id, timestamp, time in microseconds, arguments array, client IP and port,",
                                        "    client name; with STEPS also the step and the tier the time went to, and",
                                        "    the microseconds that the call waited for its keys, and for its changes to be",
                                        "    acknowledged",
                                        "LEN", "    Return the length of the slowlog.", "RESET", "    Reset the slowlog.", NULL};
    return call_reply_help(c, lines);
}

#define ADM (CMD_ADMIN | CMD_LOADING | CMD_STALE | CMD_DANGEROUS)

const struct command slowlog_subs[] = {
    {.name = "get", .syntax = "[count [STEPS]]", .arity = -2, .flags = ADM, .run = slowlog_get_run, .since = "2.2.12", .cost = "O(N) for N entries", .summary = "Returns slow calls, newest first.", .tips = "request_policy:all_nodes,nondeterministic_output"},
    {.name = "help", .syntax = "", .arity = 2, .flags = CMD_LOADING | CMD_STALE, .run = slowlog_help_run, .since = "6.2.0", .cost = "O(1)", .summary = "Lists the subcommands."},
    {.name = "len", .syntax = "", .arity = 2, .flags = ADM, .run = slowlog_len_run, .since = "2.2.12", .cost = "O(1)", .summary = "Counts the slow calls remembered.", .tips = "request_policy:all_nodes,response_policy:agg_sum,nondeterministic_output"},
    {.name = "reset", .syntax = "", .arity = 2, .flags = ADM, .run = slowlog_reset_run, .since = "2.2.12", .cost = "O(N) for N entries", .summary = "Forgets the slow calls.", .tips = "request_policy:all_nodes,response_policy:all_succeeded"},
    {0}};

/* ---- LATENCY ---- */

struct latency_listing {
    struct out *o;
    int64_t n;
};

static void reply_latest(void *ctx, const struct latency_event *e) {
    struct latency_listing *l = ctx;
    const struct latency_sample *last = &e->samples[(e->next + LATENCY_SAMPLES - 1) % LATENCY_SAMPLES];
    reply_array(l->o, 4);
    reply_bulk_cstr(l->o, e->name);
    reply_int(l->o, last->time_s);
    reply_int(l->o, (int64_t)last->ms);
    reply_int(l->o, (int64_t)e->max_ms);
    l->n++;
}

static void reply_history(void *ctx, const struct latency_event *e) {
    struct latency_listing *l = ctx;
    for (size_t i = 0; i < e->count; i++) {
        const struct latency_sample *s = &e->samples[(e->next + LATENCY_SAMPLES - e->count + i) % LATENCY_SAMPLES];
        reply_array(l->o, 2);
        reply_int(l->o, s->time_s);
        reply_int(l->o, (int64_t)s->ms);
        l->n++;
    }
}

static enum err latency_latest_run(struct call *c) {
    struct latency_listing l = {.o = c->out};
    struct reply_deferred d = reply_defer(c->out, '*');
    latency_each(c->host->latency, NULL, reply_latest, &l);
    reply_defer_end(c->out, d, l.n);
    return OK;
}

static char *event_name(struct call *c) {
    char *name = arena_alloc(c->arena, c->argv[2].n + 1);
    memcpy(name, c->argv[2].p, c->argv[2].n);
    name[c->argv[2].n] = '\0';
    return name;
}

static enum err latency_history_run(struct call *c) {
    struct latency_listing l = {.o = c->out};
    char *name = event_name(c);
    struct reply_deferred d = reply_defer(c->out, '*');
    latency_each(c->host->latency, name, reply_history, &l);
    reply_defer_end(c->out, d, l.n);
    return OK;
}

enum { GRAPH_WIDTH = 80, GRAPH_ROWS = 4, GRAPH_SHADES = 3 };

/* "5s", "3m", "2h", "9d": how long ago, in at most three characters that are written downwards. */
static void put_age(char *text, size_t size, int64_t age_s) {
    static const struct {
        int64_t s;
        char unit;
    } units[] = {{86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
    size_t u = 0;
    while (u < 3 && age_s < units[u].s) {
        u++;
    }
    int64_t n = age_s / units[u].s;
    snprintf(text, size, "%d%c", (int)(n > 99 ? 99 : n), units[u].unit);
}

static void copy_event(void *ctx, const struct latency_event *e) {
    *(struct latency_event *)ctx = *e;
}

/* The newest samples as columns, between the lowest and the highest of them, their ages below. */
static void draw_event(struct buf *text, const struct latency_event *e, int64_t now_s) {
    size_t n = e->count < GRAPH_WIDTH ? e->count : GRAPH_WIDTH;
    uint64_t low = UINT64_MAX, high = 0;
    char ages[GRAPH_WIDTH][8];
    uint64_t ms[GRAPH_WIDTH];
    for (size_t i = 0; i < n; i++) {
        const struct latency_sample *s = &e->samples[(e->next + LATENCY_SAMPLES - n + i) % LATENCY_SAMPLES];
        ms[i] = s->ms;
        low = s->ms < low ? s->ms : low;
        high = s->ms > high ? s->ms : high;
        put_age(ages[i], sizeof(ages[i]), now_s > s->time_s ? now_s - s->time_s : 0);
    }
    buf_printf(text, "%s - high %llu ms, low %llu ms (all time high %llu ms)\n%.*s\n", e->name, (unsigned long long)high,
               (unsigned long long)low, (unsigned long long)e->max_ms, GRAPH_WIDTH,
               "--------------------------------------------------------------------------------");
    for (uint64_t row = GRAPH_ROWS; row-- > 0;) {
        for (size_t i = 0; i < n; i++) {
            uint64_t step = high > low ? (ms[i] - low) * (GRAPH_ROWS * GRAPH_SHADES - 1) / (high - low) : 0;
            char top = "_o#"[step % GRAPH_SHADES], fill = row < step / GRAPH_SHADES ? '|' : ' ';
            buf_putc(text, row == step / GRAPH_SHADES ? top : fill);
        }
        buf_putc(text, '\n');
    }
    for (size_t line = 0; line < 3; line++) {
        buf_putc(text, '\n');
        for (size_t i = 0; i < n; i++) {
            buf_putc(text, line < strlen(ages[i]) ? ages[i][line] : ' ');
        }
    }
    buf_putc(text, '\n');
}

static enum err latency_graph_run(struct call *c) {
    struct latency_event *e = arena_alloc(c->arena, sizeof(*e));
    struct buf text = {0};
    e->count = 0;
    latency_each(c->host->latency, event_name(c), copy_event, e);
    if (e->count == 0) {
        return call_errorf(c, "ERR No samples available for event '%.*s'", SLICE_ARG(c->argv[2]));
    }
    draw_event(&text, e, c->now_ms / 1000);
    reply_verbatim(c->out, "txt", buf_slice(&text));
    buf_free(&text);
    return OK;
}

static enum err latency_reset_run(struct call *c) {
    reply_int(c->out, (int64_t)latency_reset(c->host->latency, c->argv + 2, (size_t)(c->argc - 2)));
    return OK;
}

/* Calls and the cumulative histogram of one command, in powers of two of microseconds. */
static bool reply_histogram(struct call *c, const struct cmd *cmd) {
    struct cmd_numbers n;
    struct hist_sum h = {0};
    stats_read_command(c->host->stats, c->host->loop_count, cmd->id, &n, &h);
    if (h.count == 0) {
        return false;
    }
    reply_bulk_cstr(c->out, cmd->full_name);
    reply_map(c->out, 2);
    reply_bulk_cstr(c->out, "calls");
    reply_int(c->out, (int64_t)h.count);
    reply_bulk_cstr(c->out, "histogram_usec");
    struct reply_deferred d = reply_defer(c->out, '%');
    int64_t pairs = 0;
    uint64_t sum = 0, told = 0;
    unsigned i = 0;
    for (uint64_t us = 1; told < h.count; us *= 2) {
        uint64_t edge = clock_us_to_ticks(us);
        for (; i < HIST_BUCKETS && (hist_edge(i) <= edge || us > (uint64_t)1 << 40); i++) {
            sum += h.n[i];
        }
        if (sum > told) {
            told = sum;
            reply_int(c->out, (int64_t)us);
            reply_int(c->out, (int64_t)sum);
            pairs++;
        }
    }
    reply_defer_end(c->out, d, pairs);
    return true;
}

static enum err latency_histogram_run(struct call *c) {
    struct reply_deferred d = reply_defer(c->out, '%');
    int64_t pairs = 0;
    if (c->argc == 2) {
        for (unsigned i = 0; i < registry_count(); i++) {
            pairs += reply_histogram(c, registry_at(i));
        }
    }
    for (int i = 2; i < c->argc; i++) {
        const struct cmd *cmd = registry_find_full(c->argv[i]);
        if (cmd == NULL) {
            continue;
        }
        pairs += cmd->run != NULL && reply_histogram(c, cmd);
        for (unsigned k = 0; k < cmd->sub_count; k++) {
            pairs += reply_histogram(c, &cmd->subs[k]);
        }
    }
    reply_defer_end(c->out, d, pairs);
    return OK;
}

static enum err latency_doctor_run(struct call *c) {
    struct latency_listing l = {.o = &(struct out){.proto = 2}};
    latency_each(c->host->latency, NULL, reply_latest, &l);
    struct buf b = {0};
    if (c->conf->latency_monitor_threshold == 0) {
        buf_puts(&b, "Latency monitoring is off. CONFIG SET latency-monitor-threshold <milliseconds> turns it on.");
    } else if (l.n == 0) {
        buf_puts(&b, "No event was slower than the threshold.");
    } else {
        buf_printf(&b, "%lld kinds of events were slower than %lld ms: see LATENCY LATEST and SLOWLOG GET.", (long long)l.n,
                   (long long)c->conf->latency_monitor_threshold);
    }
    out_free(l.o);
    reply_verbatim(c->out, "txt", buf_slice(&b));
    buf_free(&b);
    return OK;
}

static enum err latency_help_run(struct call *c) {
    static const char *const lines[] = {"DOCTOR", "    Return a human readable latency analysis report.",
                                        "GRAPH <event>", "    Return an ASCII latency graph for the <event> class.",
                                        "HISTORY <event>", "    Return time-latency samples for the <event> class.",
                                        "LATEST", "    Return the latest latency samples for all events.",
                                        "RESET [<event> ...]", "    Reset latency data of one or more <event> classes.",
                                        "    (default: reset all data for all event classes)",
                                        "HISTOGRAM [COMMAND ...]", "    Return a cumulative distribution of latencies per command.", NULL};
    return call_reply_help(c, lines);
}

#define NODES "nondeterministic_output,request_policy:all_nodes,response_policy:special"
#define LAT(nm, args, n, fn, ver, text, hint) \
    {.name = nm, .syntax = args, .arity = n, .flags = ADM | CMD_NOSCRIPT, .run = fn, .since = ver, .cost = "O(1)", .summary = text, .tips = hint}

const struct command latency_subs[] = {
    LAT("doctor", "", 2, latency_doctor_run, "2.8.13", "Says what the samples mean.", NODES),
    LAT("graph", "event", 3, latency_graph_run, "2.8.13", "Draws the samples of an event.", NODES),
    {.name = "help", .syntax = "", .arity = 2, .flags = CMD_LOADING | CMD_STALE, .run = latency_help_run, .since = "2.8.13", .cost = "O(1)", .summary = "Lists the subcommands."},
    LAT("histogram", "[command [command ...]]", -2, latency_histogram_run, "7.0.0", "Returns how long commands took.", NODES),
    LAT("history", "event", 3, latency_history_run, "2.8.13", "Returns the samples of an event.", NODES),
    LAT("latest", "", 2, latency_latest_run, "2.8.13", "Returns the newest sample of every event.", NODES),
    LAT("reset", "[event [event ...]]", -2, latency_reset_run, "2.8.13", "Forgets samples.", "request_policy:all_nodes,response_policy:all_succeeded"),
    {0}};
