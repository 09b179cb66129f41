/* SPDX-License-Identifier: BSD-3-Clause */
/* conf: the configuration, one row per directive (directives.def): struct field, parser, range and its error, cache.conf,
 * CONFIG GET/SET/REWRITE and docs all come from the row. A struct conf is an immutable, counted snapshot; CONFIG SET
 * builds a new one and publishes it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/buf.h"
#include "src/base/slice.h"

/* client-output-buffer-limit of one class. 0: no limit. */
struct conf_output_limit {
    size_t hard_bytes, soft_bytes;
    int64_t soft_s;
};
enum conf_client_class { CONF_CLASS_NORMAL, CONF_CLASS_REPLICA, CONF_CLASS_PUBSUB, CONF_CLASS_COUNT };

enum conf_flags { LIVE = 1, BOOT = 2, SECRET = 4 };

/* C type of a row's field by its kind. */
#define CONF_FIELD_BOOL bool
#define CONF_FIELD_INT int64_t
#define CONF_FIELD_SIZE int64_t   /* bytes */
#define CONF_FIELD_DUR_MS int64_t /* milliseconds */
#define CONF_FIELD_DUR_S int64_t  /* seconds */
#define CONF_FIELD_STR char *     /* owned by the snapshot */
#define CONF_FIELD_LINES char *   /* owned by the snapshot; lines end with '\n' but the last */

enum { CONF_MAX_PERCENTILES = 32 };

struct conf {
#define SECTION(title)
#define CONF(kind, field, name, def, min, max, flags, doc) CONF_FIELD_##kind field;
#define CONF_ENUM(field, name, def, choices, flags, doc) int field;
#include "src/conf/directives.def"
#undef SECTION
#undef CONF
#undef CONF_ENUM
    /* derived from the rows when a snapshot is made */
    struct conf_output_limit client_output_buffer_limit[CONF_CLASS_COUNT];
    double percentiles[CONF_MAX_PERCENTILES]; /* latency-tracking-info-percentiles */
    int percentile_count;
    bool maxmemory_is_auto;
    char **no_effect; /* values of no_effect.def's rows, in order */
    _Atomic unsigned refs; /* last: a copy is of what is before */
};

struct conf *conf_ref(struct conf *c);
void conf_unref(struct conf *c);

/* The writable side: the current snapshot and the file it came from. One per process. */
struct conf_store;

/* A directive that is wrong as things are: its name, static, and of several lines the one with that first argument. */
struct conf_fault {
    const char *name;
    char word[256];
};

/* What only others can check. Fixed for the life of the store. */
struct conf_hooks {
    /* One line of a LINES directive, at once where it was read. False with the reason in why. */
    bool (*line)(const char *directive, struct slice line, struct buf *why);
    /* A whole snapshot, when all of it is known. False with the directive at fault and the reason in why. */
    bool (*all)(const struct conf *c, struct conf_fault *fault, struct buf *why);
};

/* Reads `[file] [--directive value ...]` (argv[0] is skipped). NULL with one line in err: place, what was read, what is
 * allowed. hooks may be NULL. */
struct conf_store *conf_load(int argc, char **argv, const struct conf_hooks *hooks, struct buf *err);
void conf_store_free(struct conf_store **store);
/* A reference to the current snapshot. Any thread. */
struct conf *conf_store_current(struct conf_store *store);
/* Absolute path of the file, "" when there is none. */
const char *conf_store_file(const struct conf_store *store);
/* True when `bind` was given by the user. */
bool conf_store_bind_given(const struct conf_store *store);

/* Sets all pairs or none. On failure name is the directive at fault, borrowed from pairs or static, and why says what is wrong with it; why stays
 * empty when there is no such directive. Any thread. */
bool conf_store_change(struct conf_store *store, const struct slice *pairs, int n, struct slice *name, struct buf *why);
/* The same for CONFIG SET: on failure err holds the whole error text ("ERR ..."). Any thread. */
bool conf_store_set(struct conf_store *store, const struct slice *pairs, int n, struct buf *err);
/* Calls fn for every directive whose name matches the pattern, in name order. */
void conf_each(const struct conf *c, struct slice pattern,
               void (*fn)(void *ctx, const char *name, struct slice value), void *ctx);
/* The value of one directive as CONFIG GET prints it; false when unknown. */
bool conf_value(const struct conf *c, struct slice name, struct buf *out);
/* CONFIG REWRITE: keeps comments and order, changes what differs, appends what is missing and not the default. Atomic. On
 * failure err has the reason. */
bool conf_rewrite(struct conf_store *store, struct buf *err);

/* cache.conf, docs/config.md. */
void conf_print_file(struct buf *out);
void conf_print_docs(struct buf *out);
/* Names of no-effect directives that were set, each once: for the log. */
void conf_store_take_notes(struct conf_store *store, struct buf *out);

/* Parses "1gb", "64k", "100": false when it is none. Decimal k m g, binary kb mb gb (redis.conf's meaning). */
bool conf_parse_size(struct slice s, int64_t *out);
/* l2-admission: rule 0 all, 1 second, 2 random with ppm millionths; false when it is none of them. */
bool conf_parse_admission(const char *text, int *rule, uint32_t *ppm);
