/* SPDX-License-Identifier: BSD-3-Clause */
/* far: what calls took that other nodes answered. */
#include "src/server/far.h"

#include <string.h>

#include "src/base/arena.h"
#include "src/base/clock.h"
#include "src/cmd/call.h"
#include "src/resp/parse.h"
#include "src/server/server.h"
#include "src/server/session.h"
#include "src/server/worker.h"
#include "src/stats/errors.h"
#include "src/stats/latency.h"
#include "src/stats/slowlog.h"

enum { ERROR_WORD_MAX = 64 };

void far_begin(struct far_call *far, const struct call *c, const struct worker *w) {
    *far = (struct far_call){c->cmd, w->lap};
}

static void count(const struct cmd *cmd, struct stats *stats, uint64_t ticks) {
    stats_count_call(stats, cmd->id, ticks);
    if ((cmd->flags & CMD_READONLY) && cmd->spec_count > 0) { /* sight.c takes these away from what memory answered */
        hist_add(&stats->tiers[STAT_L3].latency, ticks);
    }
}

/* The arguments of the last command: those before it only set the state of the session there. from: how many of them to leave out. */
static void add_args(const struct buf *commands, int from, struct arena *arena, struct slice *argv, int *argc) {
    struct parse_limits limits = {INT64_MAX, INT32_MAX, INT64_MAX, 0};
    struct parse_resume resume = {0};
    struct request r;
    uint32_t length = 0;
    size_t at = 0;
    for (size_t next = 0; next < commands->n; next = at + length) {
        memcpy(&length, commands->p + next, sizeof(length));
        at = next + sizeof(length);
    }
    if (parse_request(slice_make(commands->p + at, length), &limits, &resume, arena, &r) != PARSE_OK) {
        return;
    }
    for (int i = from; i < r.argc && *argc < SLOWLOG_MAX_ARGS + 1; i++) { /* one more than is kept: it says that there were more */
        argv[(*argc)++] = r.argv[i];
    }
}

static void note_slow(const struct far_call *far, struct session *s, uint64_t us, const struct buf *(*commands)(const void *ctx, unsigned i),
                      const void *ctx) {
    struct slice argv[SLOWLOG_MAX_ARGS + 1];
    struct slow_where where = {.step = "route", .tier = tier_names[STAT_L3].name, .waited_us = us};
    struct arena arena = {0};
    int argc = 0, words = 1 + (far->cmd->parent != NULL);
    const struct buf *b;
    for (unsigned i = 0; (b = commands(ctx, i)) != NULL; i++) {
        add_args(b, i == 0 ? 0 : words, &arena, argv, &argc);
    }
    slowlog_add(s->worker->server->host.slowlog, loop_now_ms(s->worker->loop), us, argv, argc, s->client.addr, s->client.name, &where);
    arena_free(&arena);
}

static void count_error(struct session *s, const struct cmd *cmd, struct slice reply) {
    STAT_ADD(s->worker->stats->commands[cmd->id].failed, 1);
    STAT_ADD(s->worker->stats->total_error_replies, 1);
    error_counts_add(s->worker->server->host.errors, slice_make(reply.p + 1, reply.n - 1 < ERROR_WORD_MAX ? reply.n - 1 : ERROR_WORD_MAX));
}

void far_end(const struct far_call *far, struct session *s, struct slice start, const struct buf *(*commands)(const void *ctx, unsigned i),
             const void *ctx) {
    struct worker *w = s->worker;
    uint64_t ticks = clock_ticks() - far->began, us = clock_ticks_to_us(ticks);
    count(far->cmd, w->stats, ticks);
    if (start.n > 1 && start.p[0] == '-') {
        count_error(s, far->cmd, start);
    }
    if (unlikely(ticks >= w->slow_ticks) && !(far->cmd->flags & CMD_SKIP_SLOWLOG)) {
        note_slow(far, s, us, commands, ctx);
    }
    if (unlikely(ticks >= w->latency_ticks)) {
        latency_add(w->server->host.latency, far->cmd->flags & CMD_FAST ? "fast-command" : "command", loop_now_ms(w->loop) / 1000, us / 1000);
    }
}

void far_near(const struct call *c, struct worker *w) {
    count(c->cmd, w->stats, clock_ticks() - w->lap);
}
