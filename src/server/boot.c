/* SPDX-License-Identifier: BSD-3-Clause */
/* boot: the one visible list of setup steps, undone in reverse. */
#include "src/server/boot.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "persist/disk.h"
#include "src/base/check.h"
#include "src/base/clock.h"
#include "src/base/hash.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/base/text.h"
#include "src/cmd/cmd.h"
#include "src/conf/conf.h"
#include "src/l1/l1.h"
#include "src/net/listener.h"
#include "src/rt/loop.h"
#include "src/rt/pool.h"
#include "src/origin/origin.h"
#include "src/server/health.h"
#include "src/server/cluster.h"
#include "src/server/http.h"
#include "src/server/import.h"
#include "src/server/preheat.h"
#include "src/server/profile.h"
#include "src/server/purge_log.h"
#include "src/server/rules.h"
#include "src/server/save.h"
#include "src/server/server.h"
#include "src/server/sight.h"
#include "src/server/sighting.h"
#include "src/server/warm.h"
#include "src/server/worker.h"
#include "src/stats/errors.h"
#include "src/stats/latency.h"
#include "src/stats/slowlog.h"
#include "src/stats/stats.h"
#include "src/tier/guard.h"
#include "src/tier/write.h"

enum { MAX_AUTO_THREADS = 16, SPARE_FDS = 64, BYTES_PER_SHARD = 8 << 20, MAX_AUTO_SHARDS = 64 };

/* ---- choices the configuration leaves to us ---- */

static unsigned choose_threads(const struct conf *conf) {
    if (conf->threads > 0) {
        return (unsigned)conf->threads;
    }
    cpu_set_t cpus;
    int n = sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? CPU_COUNT(&cpus) : 1;
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "re");
    long quota = 0, period = 0;
    if (f != NULL) {
        if (fscanf(f, "%ld %ld", &quota, &period) == 2 && quota > 0 && period > 0) {
            int allowed = (int)((quota + period - 1) / period);
            n = allowed < n ? allowed : n;
        }
        fclose(f);
    }
    return (unsigned)(n < 1 ? 1 : n > MAX_AUTO_THREADS ? MAX_AUTO_THREADS : n);
}

static unsigned choose_shards(const struct conf *conf, unsigned threads) {
    if (conf->l1_shards > 0) {
        return (unsigned)conf->l1_shards;
    }
    unsigned shards = 8, enough = threads * 8;
    enough = enough < MAX_AUTO_SHARDS ? MAX_AUTO_SHARDS : enough;
    while (shards < enough && shards < 4096 &&
           (conf->maxmemory == 0 || (int64_t)shards * 2 * BYTES_PER_SHARD <= conf->maxmemory)) {
        shards *= 2;
    }
    return shards;
}

/* As many file descriptors as maxclients needs, or fewer clients. */
static void raise_fd_limit(const struct conf *conf) {
    struct rlimit lim;
    rlim_t want = (rlim_t)(conf->maxclients + 2 * conf->http_max_connections) + SPARE_FDS;
    if (getrlimit(RLIMIT_NOFILE, &lim) != 0 || lim.rlim_cur >= want) {
        return;
    }
    lim.rlim_max = lim.rlim_max < want ? want : lim.rlim_max;
    lim.rlim_cur = want;
    if (setrlimit(RLIMIT_NOFILE, &lim) != 0) {
        getrlimit(RLIMIT_NOFILE, &lim);
        lim.rlim_cur = lim.rlim_max;
        setrlimit(RLIMIT_NOFILE, &lim);
        log_warning("maxclients %lld needs %llu file descriptors, the system allows %llu",
                    (long long)conf->maxclients, (unsigned long long)want,
                    (unsigned long long)lim.rlim_cur);
    }
}

static bool enter_dir(const struct conf *conf) {
    if (mkdir(conf->dir, 0755) != 0 && errno != EEXIST) {
        log_warning("dir '%s' cannot be created: %s", conf->dir, strerror(errno));
        return false;
    }
    if (chdir(conf->dir) != 0) {
        log_warning("dir '%s': %s", conf->dir, strerror(errno));
        return false;
    }
    return true;
}

static void write_pidfile(const struct conf *conf) {
    FILE *f = conf->pidfile[0] != '\0' ? fopen(conf->pidfile, "we") : NULL;
    if (f != NULL) {
        fprintf(f, "%d\n", (int)getpid());
        fclose(f);
    } else if (conf->pidfile[0] != '\0') {
        log_warning("pidfile '%s': %s", conf->pidfile, strerror(errno));
    }
}

/* ---- configuration in force ---- */

static const char *policy_text(const struct conf *conf, struct buf *out) {
    conf_value(conf, SLICE("maxmemory-policy"), out);
    buf_putc(out, '\0');
    return out->p;
}

/* A size that is 0 is a share of maxmemory, within bounds. */
static size_t size_or_share(const struct conf *conf, int64_t size, int64_t part, int64_t least, int64_t most) {
    int64_t share = conf->maxmemory == 0 ? most : conf->maxmemory / part;
    share = share < least ? least : share > most ? most : share;
    return (size_t)(size != 0 ? size : share);
}

static struct disk_limits disk_limits_of(const struct conf *conf) {
    struct disk_limits l = {.admit = {.max_value_bytes = (size_t)conf->l2_max_value,
                                      .min_ttl_ms = conf->l2_min_ttl,
                                      .second_bytes = conf->l2_write_rate,
                                      .day_bytes = conf->l2_write_daily,
                                      .guard = conf->l2_thrash_guard},
                            .queue_bytes = size_or_share(conf, conf->l2_queue_size, 16, 2 << 20, 64 << 20),
                            .max_bytes = conf->l2_max_size};
    int rule = ADMIT_ALL;
    conf_parse_admission(conf->l2_admission, &rule, &l.admit.random_ppm); /* conf_finish has checked it */
    l.admit.rule = (enum admit_rule)rule;
    return l;
}

void server_apply_conf(struct server *srv) {
    struct conf *conf = conf_store_current(srv->host.conf_store);
    struct buf policy = {0}, notes = {0};
    log_set_level((enum log_level)conf->loglevel);
    slowlog_set_max(srv->host.slowlog, (size_t)conf->slowlog_max_len);
    l1_set_policy(srv->host.l1, policy_text(conf, &policy));
    if (srv->disk != NULL) {
        struct disk_limits limits = disk_limits_of(conf);
        disk_tune(srv->disk, &limits);
    }
    srv->tier.fill_deadline_ms = conf->l2_read_deadline;
    writes_set_limit(srv->tier.writes, (size_t)conf->write_log_size);
    conf_store_take_notes(srv->host.conf_store, &notes);
    if (notes.n > 0) {
        log_notice("accepted without effect: %.*s", (int)notes.n, notes.p);
    }
    buf_free(&policy);
    buf_free(&notes);
    conf_unref(conf);
}

/* ---- listeners ---- */

static void on_accept(void *ctx, int fd, bool is_unix) {
    struct server *srv = ctx;
    unsigned i = atomic_fetch_add_explicit(&srv->next_worker, 1, memory_order_relaxed);
    worker_hand_over(srv->workers[i % srv->host.loop_count], fd, is_unix);
}

static bool add_listener(struct server *srv, struct listener *l, const char *err, bool optional) {
    if (l != NULL) {
        CHECK(srv->listener_count < MAX_LISTENERS);
        srv->listeners[srv->listener_count++] = l;
        return true;
    }
    if (!optional) {
        log_warning("Could not listen: %s", err);
    }
    return optional;
}

static bool listen_tcp(struct server *srv, const struct conf *conf) {
    char list[1024], err[256], *save = NULL;
    struct loop *loop = srv->workers[0]->loop;
    int port = (int)conf->port;
    snprintf(list, sizeof(list), "%s", conf->bind);
    for (char *addr = strtok_r(list, " ", &save); addr != NULL; addr = strtok_r(NULL, " ", &save)) {
        bool optional = addr[0] == '-';
        struct listener *l = listener_tcp(loop, addr + optional, port, (int)conf->tcp_backlog,
                                          on_accept, srv, err, sizeof(err));
        if (!add_listener(srv, l, err, optional)) {
            return false;
        }
    }
    srv->host.tcp_port = port;
    return true;
}

static bool listen_all(struct server *srv, const struct conf *conf) {
    char err[256];
    if (conf->port != 0 && !listen_tcp(srv, conf)) {
        return false;
    }
    if (conf->unixsocket[0] != '\0') {
        unsigned perm = (unsigned)strtol(conf->unixsocketperm, NULL, 8);
        struct listener *l = listener_unix(srv->workers[0]->loop, conf->unixsocket, perm,
                                           (int)conf->tcp_backlog, on_accept, srv, err, sizeof(err));
        return add_listener(srv, l, err, false);
    }
    return true;
}

/* ---- the list ---- */

static void on_signal(void *ctx, int signum) {
    log_notice("Received %s, scheduling shutdown...", signum == SIGINT ? "SIGINT" : "SIGTERM");
    server_begin_shutdown(ctx);
}

static void make_run_id(char *out) {
    unsigned char raw[RUN_ID_LEN / 2];
    rng_system(raw, sizeof(raw));
    for (size_t i = 0; i < sizeof(raw); i++) {
        snprintf(out + 2 * i, 3, "%02x", raw[i]);
    }
}

static enum codec codec_of(void *ctx, struct slice name) {
    static const enum codec as[] = {[COMPRESS_NONE] = CODEC_NONE, [COMPRESS_LZ4] = CODEC_LZ4, [COMPRESS_ZSTD] = CODEC_ZSTD};
    return as[tier_compress(ctx, name)];
}

/* False: said why in the log. Before any key is hashed. */
static bool open_disk(struct server *srv, const struct conf *conf) {
    char err[512];
    if (!conf->l2) {
        return true;
    }
    srv->disk = disk_open(&(struct disk_options){.dir = "l2",
                                                 .write_policy = (enum disk_write_policy)conf->l2_write_policy,
                                                 .durability = (enum disk_durability)conf->l2_durability,
                                                 .compression = conf->l2_compression,
                                                 .direct_io = conf->l2_direct_io,
                                                 .cache_bytes = size_or_share(conf, conf->l2_cache_size, 64, 1 << 20, 64 << 20),
                                                 .write_buffer_bytes = size_or_share(conf, conf->l2_write_buffer, 32, 1 << 20, 64 << 20),
                                                 .journal_bytes = (size_t)conf->l2_journal_size,
                                                 .threads_min = (unsigned)conf->l2_threads_min,
                                                 .threads_max = (unsigned)conf->l2_threads_max,
                                                 .reads_wait = conf->l2_read_overload == 0,
                                                 .read_depth = (unsigned)conf->l2_read_depth,
                                                 .hash_limits = {(size_t)conf->hash_max_listpack_entries,
                                                                 (size_t)conf->hash_max_listpack_value},
                                                 .codec = codec_of,
                                                 .packed = tier_packed,
                                                 .codec_ctx = &srv->tier,
                                                 .limits = disk_limits_of(conf)},
                          err, sizeof(err));
    if (srv->disk == NULL) {
        log_warning("disk tier: %s", err);
    }
    return srv->disk != NULL;
}

static void settle_disk(void *ctx) {
    disk_settle(ctx);
}

/* What only memory has goes to disk, so that the next start is warm. */
static void close_disk(struct server *srv) {
    if (srv->disk != NULL) {
        if (srv->tier.l1 != NULL) {
            tier_drain(&srv->tier, clock_now_ms(), settle_disk, srv->disk);
        }
        disk_close(&srv->disk);
    }
}

/* False: said why in the log. */
static bool open_origins(struct server *srv, const struct conf *conf) {
    struct buf err = {0};
    if (conf->origin[0] != '\0') {
        srv->origins = origins_create(conf->origin, conf->proto_max_bulk_len, &err);
        if (srv->origins == NULL) {
            log_warning("%.*s", (int)err.n, err.p);
        } else {
            origins_bound(srv->origins, conf->origin_concurrency);
        }
    }
    buf_free(&err);
    return conf->origin[0] == '\0' || srv->origins != NULL;
}

static bool open_purge_log(struct server *srv, const struct conf *conf, struct buf *err) {
    srv->purge_log = purge_log_open("purges", conf->l2_durability == DISK_ALWAYS, srv->tier.guard, err);
    return srv->purge_log != NULL;
}

static void ask_origin(void *target, struct request *r) {
    origin_submit(target, r);
}

static bool origin_can_take(void *target, enum value_type type) {
    return origin_takes(target, type);
}

static void *find_origin(void *ctx, struct slice name) {
    struct server *srv = ctx;
    return srv->origins != NULL ? origins_find(srv->origins, name) : NULL;
}

/* What origins have still to be told of. After what else fills memory at the start. */
static bool open_write_log(struct server *srv, const struct conf *conf, struct buf *err) {
    struct hash_limits limits = {(size_t)conf->hash_max_listpack_entries, (size_t)conf->hash_max_listpack_value};
    return writes_open_log(srv->tier.writes, "writes", &limits, find_origin, srv, err);
}

static void open_host(struct server *srv, struct conf_store *store, const char *executable) {
    struct host *h = &srv->host;
    struct conf *conf = conf_store_current(store);
    struct buf policy = {0};
    h->ops = &server_ops;
    h->http_state = "off";
    h->conf_store = store;
    h->executable = executable;
    h->config_file = conf_store_file(store);
    h->start_ms = clock_now_ms();
    h->start_mono_us = clock_mono_us();
    make_run_id(h->run_id);
    atomic_store(&h->next_client_id, 1);
    atomic_store(&h->last_save_ok, true);
    atomic_store(&h->last_save_s, h->start_ms / 1000);
    h->slowlog = slowlog_create((size_t)conf->slowlog_max_len);
    h->latency = latency_create();
    h->errors = error_counts_create();
    h->loop_count = choose_threads(conf);
    h->stats = mem_alloc(h->loop_count * sizeof(struct stats *));
    for (unsigned i = 0; i < h->loop_count; i++) {
        h->stats[i] = stats_create(registry_count());
    }
    h->pool = pool_create(&(struct pool_options){.name = "pool", .threads = srv->disk != NULL ? 2 : 1, .lanes = 1, .depth = 256});
    h->l1 = l1_create(&(struct l1_options){.shards = choose_shards(conf, h->loop_count),
                                           .limit_bytes = (size_t)conf->maxmemory,
                                           .policy = policy_text(conf, &policy),
                                           .hooks = {.ctx = &srv->tier,
                                                     .expired = tier_item_ended,
                                                     .lapsed = tier_item_lapsed,
                                                     .deadline = tier_item_deadline,
                                                     .newborn = tier_newborn,
                                                     .group = tier_group,
                                                     .evicted = tier_evicted,
                                                     .heeds = tier_heeds,
                                                     .spared = srv->disk != NULL ? tier_spared : NULL,
                                                     .pressed = srv->disk != NULL ? tier_pressed : NULL}});
    tier_init(&srv->tier, h->l1);
    if (srv->disk != NULL) {
        l1_restore_map(h->l1, disk_map(srv->disk));
        tier_add_source(&srv->tier, disk_source(srv->disk));
        tier_add_sink(&srv->tier, disk_sink(srv->disk));
    }
    h->tier = &srv->tier;
    srv->tier.guard = guard_create(h->l1, &srv->tier, (size_t)conf->negative_max, (size_t)conf->purge_max);
    srv->tier.ask = ask_origin;
    srv->tier.takes = origin_can_take;
    srv->tier.writes = writes_create(&srv->tier, (size_t)conf->write_log_size);
    h->sight = sighting_open(srv, conf);
    rules_apply(srv);
    srv->chronicle = chronicle_create(srv);
    srv->bound_by_choice = conf_store_bind_given(store);
    atomic_store(&srv->shutdown_save, -1);
    buf_free(&policy);
    conf_unref(conf);
}

/* What is on its way to them fails. */
static void close_origins(struct server *srv) {
    writes_stop(srv->tier.writes);
    origins_destroy(&srv->origins);
    writes_close_log(srv->tier.writes);
}

static void close_host(struct server *srv) {
    struct host *h = &srv->host;
    chronicle_destroy(&srv->chronicle);
    sight_destroy(&h->sight);
    writes_destroy(&srv->tier.writes);
    guard_destroy(&srv->tier.guard);
    l1_destroy(&h->l1);
    pool_destroy(&h->pool);
    for (unsigned i = 0; i < h->loop_count; i++) {
        stats_destroy(&h->stats[i]);
    }
    mem_free(h->stats);
    error_counts_destroy(&h->errors);
    latency_destroy(&h->latency);
    slowlog_destroy(&h->slowlog);
    conf_store_free(&h->conf_store);
}

/* What is in use before there is data. */
static void note_startup(struct server *srv) {
    struct l1_stats s;
    mem_refresh();
    l1_stats_read(srv->host.l1, &s);
    atomic_store_explicit(&srv->host.used_startup_bytes, mem_allocated_bytes() + s.chunk_bytes, memory_order_relaxed);
}

static void open_workers(struct server *srv) {
    srv->workers = mem_alloc(srv->host.loop_count * sizeof(struct worker *));
    for (unsigned i = 0; i < srv->host.loop_count; i++) {
        srv->workers[i] = worker_create(srv, i);
    }
    note_startup(srv);
}

/* The last messages, and those they bring about: a load given up wakes calls of other loops, and what they have is theirs to free. */
static void drain_workers(struct server *srv) {
    bool any;
    do {
        any = false;
        for (unsigned i = 0; i < srv->host.loop_count; i++) {
            any |= loop_drain(srv->workers[i]->loop);
        }
    } while (any);
}

static void close_workers(struct server *srv) {
    drain_workers(srv);
    for (unsigned i = 0; i < srv->host.loop_count; i++) {
        worker_destroy(&srv->workers[i]);
    }
    mem_free(srv->workers);
}

static void serve(struct server *srv) {
    static const int signals[] = {SIGINT, SIGTERM, 0};
    loop_on_signals(srv->workers[0]->loop, signals, on_signal, srv);
    for (unsigned i = 1; i < srv->host.loop_count; i++) {
        loop_start(srv->workers[i]->loop);
    }
    log_notice("Ready to accept connections");
    loop_run(srv->workers[0]->loop);
    for (unsigned i = 1; i < srv->host.loop_count; i++) {
        loop_join(srv->workers[i]->loop);
    }
}

static bool save_at_exit(struct server *srv, const struct conf *conf) {
    int wish = atomic_load(&srv->shutdown_save);
    bool by_points = conf->save[0] != '\0' && atomic_load(&srv->host.dirty) > 0;
    return wish == 1 || (wish == -1 && by_points) ? save_now(srv) : true;
}

/* Nothing is open yet. */
static void let_go(struct server *srv, struct conf *conf, struct conf_store *store) {
    conf_unref(conf);
    conf_store_free(&store);
    mem_free(srv);
}

int server_run(struct conf_store *store, const char *executable, const char *import) {
    struct server *srv = mem_zalloc(sizeof(*srv));
    struct conf *conf = conf_store_current(store);
    struct buf err = {0};
    int code = 1;
    mem_start();
    clock_init();
    hash_init();
    if (!log_open(conf->logfile) || !enter_dir(conf)) {
        fprintf(stderr, "cannot start: logfile '%s' or dir '%s': %s\n", conf->logfile, conf->dir,
                strerror(errno));
        let_go(srv, conf, store);
        return code;
    }
    if (!open_disk(srv, conf) || !open_origins(srv, conf)) {
        close_disk(srv);
        let_go(srv, conf, store);
        return code;
    }
    raise_fd_limit(conf);
    open_host(srv, store, executable);
    server_apply_conf(srv);
    open_workers(srv);
    srv->preheat = preheat_create(srv);
    srv->import = import_create(srv);
    srv->profile = profile_create();
    atomic_store(&srv->host.loading, true);
    srv->http = http_start(srv); /* before what takes its time: /readyz says that it does */
    bool purges_known = srv->disk == NULL || open_purge_log(srv, conf, &err);
    if (!purges_known || (srv->disk == NULL && !save_load(srv, &err)) || !open_write_log(srv, conf, &err)) {
        log_warning("%.*s", (int)err.n, err.p);
    } else if (import != NULL && !import_at_start(srv->import, import, &err)) {
        log_warning("%.*s", (int)err.n, err.p);
    } else if (!cluster_open(srv, conf, &err) || !cluster_start(srv, conf, &err)) {
        log_warning("%.*s", (int)err.n, err.p);
    } else if (listen_all(srv, conf)) {
        write_pidfile(conf);
        log_notice("Strata %s started: %u threads, %u shards, maxmemory %lld, policy %s",
                   STRATA_VERSION, srv->host.loop_count, srv->host.l1->shard_count,
                   (long long)conf->maxmemory, l1_policy_name(srv->host.l1));
        srv->warm = warm_start(srv);
        rules_fetch_filters(srv);
        text_let_go();
        srv->health = health_start(srv);
        atomic_store(&srv->host.loading, false); /* who asks over HTTP may look at all of srv now */
        serve(srv);
        health_stop(srv->health);
        warm_end(&srv->warm);
        code = save_at_exit(srv, conf) && !srv->failed ? 0 : 1;
        if (conf->pidfile[0] != '\0') {
            unlink(conf->pidfile);
        }
        log_notice("Strata is now ready to exit, bye bye...");
    }
    http_stop(&srv->http);
    health_destroy(&srv->health);
    close_origins(srv);
    close_disk(srv);
    for (unsigned i = 0; i < srv->listener_count; i++) {
        listener_close(&srv->listeners[i]);
    }
    cluster_stop(srv);
    cluster_end_membership(srv);
    preheat_stopping(srv->preheat);
    import_stopping(srv->import);
    profile_stopping(srv->profile);
    profile_destroy(&srv->profile);
    close_workers(srv);
    cluster_close(srv);
    preheat_destroy(&srv->preheat);
    import_destroy(&srv->import);
    conf_unref(conf);
    close_host(srv);
    purge_log_close(&srv->purge_log); /* the pool has written to it until now */
    buf_free(&err);
    mem_free(srv);
    return code;
}

struct server *server_open(struct conf_store *store, const char *executable) {
    struct server *srv = mem_zalloc(sizeof(*srv));
    struct conf *conf = conf_store_current(store);
    CHECK(open_origins(srv, conf));
    conf_unref(conf);
    open_host(srv, store, executable);
    server_apply_conf(srv);
    open_workers(srv);
    return srv;
}

void server_close(struct server **srv) {
    close_origins(*srv);
    close_workers(*srv);
    close_host(*srv);
    mem_free(*srv);
    *srv = NULL;
}
