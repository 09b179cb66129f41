/* SPDX-License-Identifier: BSD-3-Clause */
/* info: the INFO command, section by section, with Redis's field names where Redis has them. */
#include <stdio.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/cmd/call.h"
#include "src/sight/sight.h"
#include "src/stats/errors.h"
#include "src/tier/tier.h"
#include "src/cmd/conn.h"

#define LOAD(field) atomic_load_explicit(&c->host->field, memory_order_relaxed)
#define SUM(field) (unsigned long long)STATS_SUM(c->host->stats, c->host->loop_count, field)
#define COMMANDS(field) (unsigned long long)STATS_SUM_COMMANDS(c->host->stats, c->host->loop_count, field)

static void human(char *out, size_t n, uint64_t bytes) {
    static const char units[] = "BKMGT";
    double v = (double)bytes;
    int u = 0;
    while (v >= 1024 && u < 4) {
        v /= 1024;
        u++;
    }
    snprintf(out, n, u == 0 ? "%.0f%c" : "%.2f%c", v, units[u]);
}

static void put_bytes(struct buf *b, const char *name, uint64_t bytes) {
    char text[32];
    human(text, sizeof(text), bytes);
    buf_printf(b, "%s:%llu\r\n%s_human:%s\r\n", name, (unsigned long long)bytes, name, text);
}

static void section_server(struct call *c, struct buf *b) {
    struct utsname u;
    uname(&u);
    int64_t up = (clock_mono_us() - c->host->start_mono_us) / 1000000;
    buf_printf(b,
               "redis_version:" REDIS_VERSION "\r\nredis_git_sha1:%s\r\nredis_git_dirty:0\r\nredis_build_id:%s\r\n"
               "redis_mode:%s\r\nstrata_version:%s\r\nos:%s %s %s\r\narch_bits:%d\r\nmonotonic_clock:POSIX clock_gettime\r\n"
               "multiplexing_api:epoll\r\natomicvar_api:c11-builtin\r\ngcc_version:%d.%d.%d\r\nprocess_id:%d\r\n"
               "process_supervised:no\r\nrun_id:%s\r\ntcp_port:%d\r\nserver_time_usec:%lld\r\nuptime_in_seconds:%lld\r\n"
               "uptime_in_days:%lld\r\nhz:%lld\r\nconfigured_hz:%lld\r\nlru_clock:%lld\r\nexecutable:%s\r\nconfig_file:%s\r\n"
               "io_threads_active:%d\r\nhttp_port:%d\r\nhttp_state:%s\r\n",
               STRATA_GIT_SHA, STRATA_GIT_SHA, c->host->rings != NULL ? "cluster" : "standalone", STRATA_VERSION, u.sysname, u.release, u.machine, (int)sizeof(void *) * 8,
               __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__, (int)getpid(), c->host->run_id, c->host->tcp_port,
               (long long)clock_now_us(), (long long)up, (long long)(up / 86400), (long long)c->conf->hz,
               (long long)c->conf->hz, (long long)(c->now_ms / 1000 & 0xFFFFFF), c->host->executable,
               c->host->config_file, c->host->loop_count > 1, c->host->http_port, c->host->http_state);
}

static void section_clients(struct call *c, struct buf *b) {
    buf_printf(b,
               "connected_clients:%lld\r\ncluster_connections:0\r\nmaxclients:%lld\r\nclient_recent_max_input_buffer:0\r\n"
               "client_recent_max_output_buffer:0\r\nblocked_clients:%lld\r\ntracking_clients:0\r\nclients_in_timeout_table:0\r\n"
               "clients_peak:%lld\r\nmonitors:%lld\r\n",
               (long long)LOAD(clients), (long long)c->conf->maxclients, (long long)LOAD(blocked_clients),
               (long long)LOAD(clients_peak), (long long)LOAD(monitors));
}

static void section_memory(struct call *c, struct buf *b) {
    struct l1_stats s;
    l1_stats_read(c->l1, &s);
    uint64_t used = LOAD(used_bytes), rss = LOAD(rss_bytes);
    put_bytes(b, "used_memory", used);
    put_bytes(b, "used_memory_rss", rss);
    put_bytes(b, "used_memory_peak", LOAD(used_peak_bytes));
    put_bytes(b, "total_system_memory", (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE));
    uint64_t dataset = s.live_bytes + s.heap_bytes;
    buf_printf(b, "used_memory_overhead:%llu\r\nused_memory_startup:%zu\r\nused_memory_dataset:%llu\r\n",
               (unsigned long long)(used > dataset ? used - dataset : 0), LOAD(used_startup_bytes), (unsigned long long)dataset);
    put_bytes(b, "maxmemory", (uint64_t)c->conf->maxmemory);
    buf_printf(b,
               "maxmemory_policy:%s\r\nallocator_allocated:%zu\r\nallocator_active:%zu\r\nallocator_resident:%zu\r\nmem_fragmentation_ratio:%.2f\r\n"
               "mem_fragmentation_bytes:%lld\r\nmem_not_counted_for_evict:0\r\nmem_clients_normal:%zu\r\nmem_allocator:%s\r\n"
               "active_defrag_running:0\r\nlazyfree_pending_objects:0\r\n",
               l1_policy_name(c->l1), mem_allocated_bytes(), mem_active_bytes(), mem_resident_bytes(), used > 0 ? (double)rss / (double)used : 1.0,
               (long long)rss - (long long)used, LOAD(client_bytes), mem_allocator_name());
}

static void section_persistence(struct call *c, struct buf *b) {
    bool running = LOAD(save_state) == SAVE_RUNNING;
    int64_t started = LOAD(save_started_ms);
    buf_printf(b,
               "loading:%d\r\nasync_loading:0\r\nrdb_changes_since_last_save:%lld\r\nrdb_bgsave_in_progress:%d\r\n"
               "rdb_last_save_time:%lld\r\nrdb_last_bgsave_status:%s\r\nrdb_last_bgsave_time_sec:%lld\r\n"
               "rdb_current_bgsave_time_sec:%lld\r\naof_enabled:0\r\naof_rewrite_in_progress:0\r\n"
               "aof_last_bgrewrite_status:ok\r\naof_last_write_status:ok\r\n",
               LOAD(loading), (long long)LOAD(dirty), running, (long long)LOAD(last_save_s), LOAD(last_save_ok) ? "ok" : "err",
               (long long)(LOAD(last_save_took_ms) / 1000), (long long)(running ? (c->now_ms - started) / 1000 : -1));
}

static void put_counter(struct buf *b, const char *wanted, const char *section, const char *name, unsigned long long value) {
    if (strcmp(section, wanted) == 0) {
        buf_printf(b, "%s:%llu\r\n", name, value);
    }
}

/* The rows of counters.def that name this section. */
static void put_counters(struct call *c, struct buf *b, const char *wanted) {
#define COUNTER(field, section, info_name, doc) put_counter(b, wanted, section, info_name, SUM(field));
#define COMMAND_SUM(field, section, info_name, doc) put_counter(b, wanted, section, info_name, COMMANDS(field));
#include "src/stats/counters.def"
}

static void section_stats(struct call *c, struct buf *b) {
    struct l1_stats s;
    l1_stats_read(c->l1, &s);
    put_counters(c, b, "stats");
    buf_printf(b,
               "instantaneous_ops_per_sec:%llu\r\ninstantaneous_input_kbps:%.2f\r\ninstantaneous_output_kbps:%.2f\r\n"
               "expired_keys:%llu\r\nevicted_keys:%llu\r\nsync_full:0\r\nsync_partial_ok:0\r\nsync_partial_err:0\r\n"
               "pubsub_channels:0\r\npubsub_patterns:0\r\nlatest_fork_usec:0\r\ntotal_forks:0\r\nmigrate_cached_sockets:0\r\n"
               "slowlog_lock_contended:%llu\r\nshard_lock_contended:%llu\r\n",
               (unsigned long long)LOAD(ops_per_sec), (double)LOAD(in_per_sec) / 1024, (double)LOAD(out_per_sec) / 1024,
               (unsigned long long)s.expired, (unsigned long long)s.evicted,
               (unsigned long long)lock_contended(LOCK_SLOWLOG), (unsigned long long)lock_contended(LOCK_SHARD));
}

static void section_replication(struct call *c, struct buf *b) {
    buf_printf(b,
               "role:master\r\nconnected_slaves:0\r\nmaster_failover_state:no-failover\r\nmaster_replid:%s\r\n"
               "master_replid2:0000000000000000000000000000000000000000\r\nmaster_repl_offset:0\r\nsecond_repl_offset:-1\r\n"
               "repl_backlog_active:0\r\nrepl_backlog_size:1048576\r\nrepl_backlog_first_byte_offset:0\r\nrepl_backlog_histlen:0\r\n",
               c->host->run_id);
}

static void section_cpu(struct call *c, struct buf *b) {
    struct rusage u;
    (void)c;
    getrusage(RUSAGE_SELF, &u);
    buf_printf(b, "used_cpu_sys:%ld.%06ld\r\nused_cpu_user:%ld.%06ld\r\nused_cpu_sys_children:0.000000\r\nused_cpu_user_children:0.000000\r\n",
               (long)u.ru_stime.tv_sec, (long)u.ru_stime.tv_usec, (long)u.ru_utime.tv_sec, (long)u.ru_utime.tv_usec);
}

static void section_commandstats(struct call *c, struct buf *b) {
    for (unsigned i = 0; i < registry_count(); i++) {
        struct cmd_numbers n;
        stats_read_command(c->host->stats, c->host->loop_count, i, &n, NULL);
        if (n.calls + n.rejected > 0) {
            uint64_t us = clock_ticks_to_us(n.ticks);
            buf_printf(b, "cmdstat_%s:calls=%llu,usec=%llu,usec_per_call=%.2f,rejected_calls=%llu,failed_calls=%llu\r\n",
                       registry_at(i)->full_name, (unsigned long long)n.calls, (unsigned long long)us,
                       n.calls > 0 ? (double)us / (double)n.calls : 0.0, (unsigned long long)n.rejected, (unsigned long long)n.failed);
        }
    }
}

/* The first word of an error may be anything: what would spoil the line becomes '_'. */
static void put_kind(void *ctx, const char *kind, uint64_t count) {
    struct buf *b = ctx;
    buf_puts(b, "errorstat_");
    for (const char *p = kind; *p != '\0'; p++) {
        buf_printf(b, "%c", strchr("#:\r\n", *p) != NULL ? '_' : *p);
    }
    buf_printf(b, ":count=%llu\r\n", (unsigned long long)count);
}

static void section_errorstats(struct call *c, struct buf *b) {
    error_counts_each(c->host->errors, put_kind, b);
}

static void section_latencystats(struct call *c, struct buf *b) {
    for (unsigned i = 0; i < registry_count() && c->conf->latency_tracking; i++) {
        struct cmd_numbers n;
        struct hist_sum h = {0};
        stats_read_command(c->host->stats, c->host->loop_count, i, &n, &h);
        if (h.count == 0) {
            continue;
        }
        buf_printf(b, "latency_percentiles_usec_%s:", registry_at(i)->full_name);
        for (int p = 0; p < c->conf->percentile_count; p++) {
            double percent = c->conf->percentiles[p];
            buf_printf(b, "%sp%.10g=%.3f", p > 0 ? "," : "", percent, (double)clock_ticks_to_us(hist_quantile(&h, percent) * 1000) / 1000);
        }
        buf_puts(b, "\r\n");
    }
}

static void section_modules(struct call *c, struct buf *b) {
    (void)c;
    (void)b; /* there are none */
}

static void section_cluster(struct call *c, struct buf *b) {
    buf_printf(b, "cluster_enabled:%d\r\n", c->host->rings != NULL);
}

static void section_peers(struct call *c, struct buf *b) {
    put_counters(c, b, "peers");
    buf_printf(b, "near_copies:%lld\r\nnear_bytes:%lld\r\n", (long long)LOAD(near_copies), (long long)LOAD(near_bytes));
    c->host->ops->peers_info(c->host, b);
}

static void section_keyspace(struct call *c, struct buf *b) {
    for (unsigned db = 0; db < (unsigned)c->conf->databases; db++) {
        uint8_t physical = c->l1->db_map[db];
        uint64_t keys = tier_keys(c->host->tier, physical);
        if (keys > 0) {
            buf_printf(b, "db%u:keys=%llu,expires=%llu,avg_ttl=0\r\n", db, (unsigned long long)keys,
                       (unsigned long long)l1_db_expires(c->l1, physical));
        }
    }
}

static void section_tiers(struct call *c, struct buf *b) {
    struct l1_stats s;
    l1_stats_read(c->l1, &s);
    if (c->host->ops->tier_lines != NULL) {
        c->host->ops->tier_lines(c->host, b);
    }
    buf_printf(b,
               "l1_chunk_bytes:%llu\r\nl1_live_bytes:%llu\r\nl1_heap_bytes:%llu\r\n"
               "l1_table_bytes:%llu\r\nl1_shards:%u\r\nl1_buckets:%llu\r\nl1_overflow_buckets:%llu\r\nl1_inserted:%llu\r\nl1_evicted:%llu\r\nl1_spared:%llu\r\n"
               "l1_expired:%llu\r\nl1_compaction_moved:%llu\r\nl1_flights:%llu\r\nl1_watches:%llu\r\n",
               (unsigned long long)s.chunk_bytes, (unsigned long long)s.live_bytes, (unsigned long long)s.heap_bytes,
               (unsigned long long)s.table_bytes, c->l1->shard_count, (unsigned long long)s.buckets,
               (unsigned long long)s.overflow_buckets, (unsigned long long)s.inserted, (unsigned long long)s.evicted,
               (unsigned long long)s.spared, (unsigned long long)s.expired, (unsigned long long)s.moved_by_compaction, (unsigned long long)s.flights,
               (unsigned long long)s.watches);
    sight_info(c->host->sight, b);
    struct tier *t = c->host->tier;
    if (t->source_count > 0) {
        buf_printf(b, "fills:%llu\r\nfills_joined:%llu\r\nfills_failed:%llu\r\nfills_late:%llu\r\nfills_overtaken:%llu\r\n",
                   (unsigned long long)t->fills, (unsigned long long)t->joined, (unsigned long long)t->failed,
                   (unsigned long long)t->late, (unsigned long long)t->dropped_late);
    }
    for (unsigned i = 0; i < t->source_count; i++) {
        if (t->sources[i]->info != NULL) {
            t->sources[i]->info(t->sources[i], b);
        }
    }
    if (c->host->ops->tiers_info != NULL) {
        c->host->ops->tiers_info(c->host, b);
    }
}

static void section_health(struct call *c, struct buf *b) {
    if (c->host->ops->health_info != NULL) {
        c->host->ops->health_info(c->host, b);
    }
}

static void section_guards(struct call *c, struct buf *b) {
    if (c->host->ops->guards_info != NULL) {
        c->host->ops->guards_info(c->host, b);
    }
}

enum { IN_DEFAULT = 1, IN_ALL = 2 };

static const struct {
    const char *name, *title;
    unsigned in;
    void (*print)(struct call *c, struct buf *b);
} sections[] = {
    {"server", "Server", IN_DEFAULT | IN_ALL, section_server},
    {"clients", "Clients", IN_DEFAULT | IN_ALL, section_clients},
    {"memory", "Memory", IN_DEFAULT | IN_ALL, section_memory},
    {"persistence", "Persistence", IN_DEFAULT | IN_ALL, section_persistence},
    {"stats", "Stats", IN_DEFAULT | IN_ALL, section_stats},
    {"replication", "Replication", IN_DEFAULT | IN_ALL, section_replication},
    {"cpu", "CPU", IN_DEFAULT | IN_ALL, section_cpu},
    {"modules", "Modules", IN_DEFAULT | IN_ALL, section_modules},
    {"commandstats", "Commandstats", IN_ALL, section_commandstats},
    {"errorstats", "Errorstats", IN_DEFAULT | IN_ALL, section_errorstats},
    {"latencystats", "Latencystats", IN_ALL, section_latencystats},
    {"cluster", "Cluster", IN_DEFAULT | IN_ALL, section_cluster},
    {"peers", "Peers", IN_DEFAULT | IN_ALL, section_peers},
    {"keyspace", "Keyspace", IN_DEFAULT | IN_ALL, section_keyspace},
    {"tiers", "Tiers", IN_DEFAULT | IN_ALL, section_tiers},
    {"guards", "Guards", IN_DEFAULT | IN_ALL, section_guards},
    {"health", "Health", IN_DEFAULT | IN_ALL, section_health},
};

static bool section_wanted(const struct call *c, size_t i) {
    if (c->argc == 1) {
        return sections[i].in & IN_DEFAULT;
    }
    for (int a = 1; a < c->argc; a++) {
        if (arg_is(c, a, sections[i].name) || arg_is(c, a, "everything") ||
            (arg_is(c, a, "all") && (sections[i].in & IN_ALL)) || (arg_is(c, a, "default") && (sections[i].in & IN_DEFAULT))) {
            return true;
        }
    }
    return false;
}

static enum err info_run(struct call *c) {
    struct buf b = {0};
    for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++) {
        if (section_wanted(c, i)) {
            buf_printf(&b, "%s# %s\r\n", b.n > 0 ? "\r\n" : "", sections[i].title);
            sections[i].print(c, &b);
        }
    }
    reply_verbatim(c->out, "txt", b.p == NULL ? slice_make("", 0) : buf_slice(&b));
    buf_free(&b);
    return OK;
}

const struct command info_commands[] = {
    {.name = "info", .syntax = "[section [section ...]]", .arity = -1, .flags = CMD_LOADING | CMD_STALE | CMD_DANGEROUS, .run = info_run,
     .since = "1.0.0", .cost = "O(1)", .summary = "Tells about the server.", .tips = "nondeterministic_output,request_policy:all_shards,response_policy:special"},
    {0}};
