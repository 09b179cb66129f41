/* SPDX-License-Identifier: BSD-3-Clause */
/* host: the server as commands see it: shared state, and what only the server can do as a table of functions, so that
 * this layer names nothing above it. One per process, outlives every call. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/buf.h"
#include "src/base/err.h"
#include "src/base/slice.h"
#include "src/stats/tiers.h"
#include "src/stats/window.h"

struct call;
struct call_job;
struct host;
struct client;
struct conf;
struct conf_store;
struct l1;
struct node_addr;
struct pool;
struct ring_store;
struct stats;
struct sight;
struct tier;
struct slowlog;
struct latency;
struct lease;
struct rule_stats;
struct error_counts;

/* Which clients CLIENT KILL and LIST mean; zero fields do not filter. */
struct client_filter {
    uint64_t id;        /* one id, or */
    const uint64_t *ids; /* a list */
    size_t id_count;
    struct slice addr, laddr, user;
    int type;           /* 0 any, 1 normal, 2 master, 3 replica, 4 pubsub */
    uint64_t skip_id;   /* SKIPME */
};

enum save_state { SAVE_IDLE, SAVE_RUNNING };

enum warm_kind { WARM_KEYS, WARM_PATTERN, WARM_FILE };

/* What WARM is to bring to memory; borrowed. */
struct warm_order {
    enum warm_kind kind;
    const struct slice *keys; /* KEYS */
    int n;
    struct slice text; /* the pattern or path */
    int64_t rate;      /* keys a second; 0: as configured */
};

/* What IMPORT is to take in; borrowed. */
struct import_order {
    struct slice from; /* a path, or redis://... */
    bool replace;      /* keys that are here already */
    int64_t rate;      /* keys a second; 0: any number */
};

enum host_job { JOB_WARM, JOB_IMPORT };

enum host_export { EXPORT_JSON, EXPORT_HISTORY, EXPORT_PROMETHEUS };

/* Memory that is neither the memory tier's nor clients', in bytes. */
struct host_memory {
    size_t startup; /* in use before there was data */
    size_t disk;    /* the disk tier's memory */
    size_t guards;  /* marks of absent keys */
    size_t sight;   /* what is known of the traffic */
};

struct host_ops {
    /* Calls fn for every client of every loop that the filter admits, under that loop's SESSIONS lock. fn must be
     * short and lock nothing. Any loop. */
    void (*each_client)(struct host *h, const struct client_filter *filter,
                        void (*fn)(void *ctx, struct client *client), void *ctx);
    /* Marks matching clients for closing and wakes their loops; returns how many. The caller itself, when it
     * matches, is closed after its reply. */
    uint64_t (*kill_clients)(struct host *h, const struct client_filter *filter, struct client *self);
    /* 1 when a blocked client of that id was woken, else 0. */
    int (*unblock_client)(struct host *h, uint64_t id, bool with_error);
    /* CLIENT PAUSE until deadline_ms (0: unpause); writes only, or everything. A pause under way is not shortened. */
    void (*pause)(struct host *h, int64_t deadline_ms, bool writes_only);
    /* Makes the client a monitor. */
    void (*monitor)(struct call *c);
    /* Changes what other loops may read: under the SESSIONS lock. Takes a copy; n == 0 unsets. */
    void (*set_client_text)(struct host *h, struct client *client, char **field, struct slice text);
    /* The protocol of this and later replies. */
    void (*set_proto)(struct call *c, uint8_t proto);
    /* Transactions: src/server/txn.c. */
    enum err (*multi)(struct call *c);
    enum err (*exec)(struct call *c);
    enum err (*discard)(struct call *c);
    enum err (*watch)(struct call *c);
    enum err (*unwatch)(struct call *c);
    /* RESET: transaction, watches, monitor, name, db, protocol, authentication. */
    void (*reset)(struct call *c);
    /* SAVE on the calling thread (bounded slices of each shard's lock, no other loop waits); BGSAVE on a pool
     * thread. ERR_REPLIED when the reply (an error) has been written. */
    enum err (*save)(struct call *c, bool background);
    /* DEBUG RELOAD: save, flush, load. */
    enum err (*reload)(struct call *c, bool nosave, bool noflush);
    /* Orderly stop; does not return a reply on success. flags: bit 0 nosave, 1 save, 2 now, 3 force, 4 abort. */
    enum err (*shutdown)(struct call *c, unsigned flags);
    /* Whether this password opens the default user. */
    bool (*check_password)(struct host *h, struct slice user, struct slice password);
    /* Publishes a changed configuration: called by src/cmd/config.c after conf_store_set. */
    void (*conf_changed)(struct host *h);
    /* Appends what the server itself knows of its tiers to INFO. */
    void (*tiers_info)(struct host *h, struct buf *out);
    /* The lines of the section Tiers that come from the table of tiers; and the numbers themselves. */
    void (*tier_lines)(struct host *h, struct buf *out);
    void (*tiers)(struct host *h, struct tier_numbers *out);
    /* Hits and misses of a tier, or of a policy, of late. */
    struct hits (*tier_window)(struct host *h, enum stat_tier tier, enum window_span span);
    struct hits (*rule_window)(struct host *h, const struct rule_stats *rule, enum window_span span);
    /* Everything, for machines. Takes milliseconds: on a thread that may block. */
    void (*export)(struct host *h, enum host_export form, struct buf *out);
    /* The section Guards. */
    void (*guards_info)(struct host *h, struct buf *out);
    /* The call is run again in the loop's next turn (see call_yield). */
    void (*yield)(struct call *c);
    /* The call is run again when the job has run on a pool thread (see call_wait). */
    void (*wait)(struct call *c, struct call_job *job);
    /* Purges must be noted before they take effect. */
    bool (*lasting_purges)(struct host *h);
    /* Notes one: a prefix, or a tag (not 0). Its number; 0 with errno. May block; any thread. */
    uint64_t (*note_purge)(struct host *h, uint8_t db, uint32_t tag, struct slice prefix, bool soft, int64_t now_ms);
    /* Makes those that were noted, up to that number, in the order in which they were. Every shard locked. */
    void (*make_purges)(struct host *h, uint64_t upto);
    /* Whether the client may be let go to load a key: no reply of it is held back, which would hide that from it. */
    bool (*may_lease)(struct call *c);
    /* The call's reply is held until the lease ends, at most so long; then the call runs again (waited when the time is over).
     * To be returned by the handler. False: this client may not wait. */
    bool (*hold)(struct call *c, struct lease *lease, int64_t ms);
    /* WARM and IMPORT begin in the background, or an error is written. */
    enum err (*warm)(struct call *c, const struct warm_order *order);
    enum err (*import)(struct call *c, const struct import_order *order);
    /* False when it is not under way. */
    bool (*cancel_job)(struct host *h, enum host_job job);
    /* Appends its lines of INFO. */
    void (*job_info)(struct host *h, enum host_job job, struct buf *out);
    /* DEBUG PROFILE. */
    enum err (*profile)(struct call *c);
    /* Keeps the calling loop busy for so long: tests. */
    void (*stall)(int64_t ms);
    /* The section Health. */
    void (*health_info)(struct host *h, struct buf *out);
    /* Calls fn for each alarm that lasts, with its name and what it means. */
    void (*alarms)(struct host *h, void (*fn)(void *ctx, const char *name, const char *doc), void *ctx);
    void (*memory)(struct host *h, struct host_memory *out);
    /* CLUSTER MEET, FORGET and LEAVE: begun; what comes of it shows in CLUSTER NODES. Only with rings. */
    void (*cluster_meet)(struct host *h, const struct node_addr *at);
    bool (*cluster_forget)(struct host *h, const char *id); /* false: no such node, or this one */
    void (*cluster_leave)(struct host *h);
    /* Appends to INFO peers what the server itself knows of them. */
    void (*peers_info)(struct host *h, struct buf *out);
    /* Whether what this node has of the slot, which has moved away, may go to its new owner. */
    bool (*lends_slot)(struct host *h, unsigned slot);
    /* Sleeps the calling client without blocking its loop, then answers OK: DEBUG SLEEP. */
    enum err (*sleep)(struct call *c, int64_t ms);
};

enum { RUN_ID_LEN = 40 };

struct host {
    /* fixed after create */
    const struct host_ops *ops;
    struct l1 *l1;
    struct tier *tier;
    struct conf_store *conf_store; /* the writable side; readers use call->conf */
    struct pool *pool;
    struct sight *sight;
    struct stats **stats; /* one per loop */
    unsigned loop_count;
    struct slowlog *slowlog;
    struct latency *latency;
    struct error_counts *errors;
    char run_id[RUN_ID_LEN + 1];
    int64_t start_ms, start_mono_us;
    const char *executable, *config_file; /* absolute paths; config_file "" when none */
    int tcp_port; /* the real one */
    struct ring_store *rings; /* who owns what; NULL without a cluster */
    int http_port; /* the real one, 0 without */
    const char *http_state; /* "on", "off", or "failed": the port was taken */

    /* atomic */
    _Atomic uint64_t next_client_id;
    _Atomic int64_t clients, clients_peak, monitors, blocked_clients;
    _Atomic bool loading, shutting_down;
    _Atomic int save_state;
    _Atomic int64_t last_save_s, last_save_took_ms, save_started_ms;
    _Atomic bool last_save_ok;
    _Atomic int64_t near_copies, near_bytes, near_limit_bytes; /* of other nodes' keys */
    _Atomic int64_t dirty; /* changes since the last save */
    _Atomic size_t rss_bytes, rss_peak_bytes, used_bytes, used_peak_bytes, used_startup_bytes, client_bytes;
    _Atomic uint64_t ops_per_sec, in_per_sec, out_per_sec; /* instantaneous, by the cron */
};
