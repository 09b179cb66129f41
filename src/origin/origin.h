/* SPDX-License-Identifier: BSD-3-Clause */
/* origin: where values come from, and writes may go to, that no tier has: an HTTP service, another Redis, a loader on a unix
 * socket. Each `origin NAME URL [option=value ...]` is one origin, driven by a driver of drivers.def.
 *
 * All origins live on one loop and thread of their own, the origin loop: connections, queue, breaker, retry budget and timers
 * need no lock. A worker submits a request by message, and done comes back on the worker's loop by message.
 *
 *   submit -> [breaker closed? room in the queue?] -> queue -> [concurrency] -> driver -> done
 *                                                       ^                         |
 *                                                       +------ rest a little <---+ failed, and may be tried again
 *
 * The breaker (breaker.h) counts attempts. Retries spend a budget: each request adds `retry-budget` of a retry to it, it starts
 * with and never holds more than ORIGIN_RETRY_BURST; so among any N requests there are at most N * share + burst retries.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/buf.h"
#include "src/base/list.h"
#include "src/base/slice.h"
#include "src/iface/item.h"
#include "src/iface/source.h"
#include "src/rt/loop.h"

struct conns;
struct conn_numbers;
struct origin;
struct origins;

/* Options of an origin, by the rows of options.def. */
struct origin_options {
#define ORIGIN_FIELD_INT int64_t
#define ORIGIN_FIELD_SIZE int64_t
#define ORIGIN_FIELD_DUR_MS int64_t
#define ORIGIN_FIELD_PERCENT int64_t
#define ORIGIN_FIELD_BOOL bool
#define ORIGIN_FIELD_STR char *
#define OPTION(kind, field, name, def, min, max, doc) ORIGIN_FIELD_##kind field;
#define OPTION_ENUM(field, name, def, choices, doc) int field;
#include "src/origin/options.def"
#undef OPTION
#undef OPTION_ENUM
};

enum request_kind {
    REQUEST_LOAD, /* the key's value and lifetime */
    REQUEST_PUT,  /* the key has this value now */
    REQUEST_DEL   /* the key is gone */
};

enum { ORIGIN_RETRY_BURST = 10 };

/* How it ended. */
enum request_result {
    REQUEST_OK,     /* LOAD: found; PUT, DEL: the origin took it */
    REQUEST_ABSENT, /* LOAD: the origin knows the key not to exist (404, 410, nil); DEL: there was none, as good as OK */
    REQUEST_FAILED  /* anything else; error says what. The origin may or may not have taken a PUT or DEL */
};

/* Whose fault a failure is, for the breaker. */
enum request_blame {
    BLAME_ORIGIN,  /* it does not answer, or says itself that it cannot (5xx) */
    BLAME_REQUEST, /* the origin is well, but has no good answer to this (4xx, too long, an error reply) */
    BLAME_NOBODY   /* the origin was not asked: the key or value cannot be said in its protocol */
};

/* Lifetime as an origin gives it; -1 where it says nothing. */
struct lifetime {
    int64_t ttl_ms;   /* fresh so long; 0: must not be kept */
    int64_t stale_ms; /* may be served so long beyond that while it is refreshed (stale-while-revalidate) */
    int64_t error_ms; /* or when refreshing it fails (stale-if-error) */
    bool exact;       /* ttl_ms is the value's own end (Redis), not advice (HTTP): it holds whatever the policy says */
};
#define LIFETIME_UNSAID ((struct lifetime){.ttl_ms = -1, .stale_ms = -1, .error_ms = -1})

/* One exchange with an origin. The submitter owns it and what it points to, until done; from origin_submit to done only the
 * origin loop touches it. */
struct request {
    /* set by the submitter */
    enum request_kind kind;
    struct slice key;   /* {key} of the URL */
    struct slice first; /* {1}: what the first * of the pattern matched */
    struct item_view item; /* PUT: the value; borrowed, or referenced, by the submitter */
    struct loop *loop;  /* where done runs; NULL: on the origin loop */
    bool background;    /* nobody waits: behind those somebody waits for */
    void (*done)(struct request *r);
    /* set before done */
    enum request_result result;
    struct found found; /* LOAD, OK: the value (of any type); expire_ms and same are not set */
    struct lifetime life;
    int64_t took_ms;    /* of the attempt that counted: connect to last byte */
    const char *error;  /* FAILED: static text, as "timed out", "connection refused", "breaker open", "HTTP status 500" */
    int status;         /* http: its status code; else 0 */
    enum request_blame blame; /* FAILED: by the driver */
    /* the core's */
    struct origin *origin;
    struct msg msg;
    struct list node;   /* in a lane of the queue, among those in flight, or among those at rest */
    int64_t due_ms;     /* when its time there is over; monotonic */
    int64_t started_us; /* this attempt; monotonic */
    uint32_t breaker_era;
    int attempts;
    /* the driver's, while it has it */
    void *driver_data;
};

/* ---- for the server and tier ---- */

/* Checks one line's words (name, url, options) without opening anything: for the configuration. False with the reason. */
bool origin_check(struct slice line, struct buf *why);
/* Whether the configuration's text of origins has one of that name. */
bool origin_named(const char *lines, struct slice name);
/* Whether the driver of that origin can write. */
bool origin_writes(const char *lines, struct slice name);
/* The table of options for the documentation. */
void origin_docs(struct buf *out);
/* The schemes whose drivers can, as "http: https: redis:". */
void origin_print_writers(struct buf *out);

/* Starts the origin loop with an origin per line; none gives values longer than max_value, whatever its options say. NULL with err (a driver refused its URL, a name given twice). Not from the
 * origin loop. */
struct origins *origins_create(const char *lines, int64_t max_value, struct buf *err);
/* Fails what is queued or in flight ("shutting down"), lets drivers close, joins the thread. origin_submit still works, and
 * is answered with that error. Not from the origin loop; a second call does nothing. */
void origins_stop(struct origins *o);
/* origins_stop, then frees. The order at shutdown: workers stop submitting (their threads have ended, or origins_stop came
 * before), origins_destroy, and only then loop_destroy of the workers' loops: it still runs the done messages posted to them. */
void origins_destroy(struct origins **o);
/* How many requests of all origins together may be at their origins at once (no bound until then). Before the first one. */
void origins_bound(struct origins *o, int64_t most);
/* NULL when there is none of that name. Any thread. */
struct origin *origins_find(struct origins *o, struct slice name);
/* Sends r on its way; done always comes, once, and never before this returns. Any thread. */
void origin_submit(struct origin *o, struct request *r);
const char *origin_name(const struct origin *o);
/* Whether a value of the type can be written there. Any thread. */
bool origin_takes(const struct origin *o, enum value_type type);
/* True while the breaker is open: loads will be refused at once. Any thread. */
bool origin_is_down(const struct origin *o);
/* Lines of INFO, any thread. One per origin, `origin_NAME:driver=http,state=closed,...`, where loads + puts + dels is the sum of
 * in_flight, queued (with those at rest before a retry), found, absent, written, failed and refused (never tried); and, once there
 * were any, `origin_NAME_errors:TEXT=count,...`. */
void origins_info(struct origins *o, struct buf *out);
/* Requests at their origins, and waiting for them, of all together. Any thread. */
void origins_load(const struct origins *o, uint64_t *in_flight, uint64_t *queued);
/* fn is called for each of them, with its name and its connections. Any thread. */
void origins_conns(const struct origins *o, void (*fn)(void *ctx, const char *name, const struct conn_numbers *n), void *ctx);
/* Adds what all of them together have answered. Any thread. */
void origins_numbers(struct origins *o, struct tier_numbers *out);
/* Their names, drivers and numbers as the members of a JSON array, separated by commas. Any thread. */
void origins_json(struct origins *o, struct buf *out);

/* ---- for drivers: all on the origin loop ---- */

struct origin_driver {
    const char *schemes; /* "http https" */
    /* Parses the URL (with {key} and {1} in it) and keeps what it needs; connects to nothing yet. NULL with the reason. loop
     * NULL: only check, and return any pointer close can take. options stay valid until close, as does conns, where connections are
     * counted; it may be NULL when loop is. */
    void *(*open)(struct slice url, const struct origin_options *options, struct loop *loop, struct conns *conns, struct buf *why);
    /* Starts r; ends it with request_end, perhaps before returning. */
    void (*start)(void *self, struct request *r);
    /* r's time is over: the driver forgets it (its connection may have to go) and does not end it. */
    void (*cancel)(void *self, struct request *r);
    /* Closes everything (no requests are in flight); closed(ctx) when nothing of it can call back any more, perhaps before
     * returning. Frees self. */
    void (*close)(void *self, void (*closed)(void *ctx), void *ctx);
    /* Kinds of request it can do besides LOAD. */
    bool writes;
    bool strings_only; /* of values */
};

/* The driver's answer; result and what goes with it are set (before start the core has set: found empty, life LIFETIME_UNSAID, status 0,
 * error NULL, blame BLAME_ORIGIN). retry: trying once more may help (refused, reset, 503), and cannot hurt. The next request may
 * be started before it returns. */
void request_end(struct request *r, bool retry);

extern const struct origin_driver origin_http, origin_redis, origin_unix;
/* The driver of a URL by its scheme, or NULL. */
const struct origin_driver *driver_of(struct slice url);
