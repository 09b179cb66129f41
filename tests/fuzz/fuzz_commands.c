/* SPDX-License-Identifier: BSD-3-Clause */
/* fuzz_commands: bytes as a stream of commands from three clients, made from the command table's syntax texts, with moves of the
 * clock, transactions, pipelines and broken bytes between them. Every command gets exactly one well-formed reply, the counters
 * agree with the keys there are, and nothing is left when everything has been flushed and closed. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/check.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/cmd/cmd.h"
#include "src/ds/crc64.h"
#include "tests/support/rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_ARGS = 24, MAX_OPS = 400, LONG_KEY = 300, RAW_MAX = 48 };

/* ---- the input ---- */

struct stream_of_bytes {
    const uint8_t *p, *end;
};

static struct stream_of_bytes in;

static unsigned take(void) {
    return in.p < in.end ? *in.p++ : 0;
}

static unsigned take_below(unsigned n) {
    return take() % n;
}

/* ---- arguments ---- */

static char pool[64 << 10]; /* bytes of long values */
static struct buf scratch;  /* arguments made for one command; reserved in advance, so it does not move */
static struct buf last_dump;

struct args {
    struct slice v[MAX_ARGS];
    int n;
};

static struct slice keep(const void *p, size_t n) {
    CHECK(scratch.cap - scratch.n >= n);
    memcpy(scratch.p + scratch.n, p, n);
    scratch.n += n;
    return slice_make(scratch.p + scratch.n - n, n);
}

static struct slice printed(const char *fmt, long long v) {
    char text[64];
    int n = snprintf(text, sizeof(text), fmt, v);
    return keep(text, (size_t)n);
}

static struct slice raw_bytes(void) {
    size_t n = take_below(RAW_MAX), left = (size_t)(in.end - in.p);
    n = n < left ? n : left;
    in.p += n;
    return keep(in.p - n, n);
}

static struct slice pick(const char *const *words, unsigned n) {
    return slice_cstr(words[take_below(n)]);
}
#define PICK(...)                                                                                  \
    pick((const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static struct slice any_key(void) {
    unsigned k = take_below(10);
    return k == 9 ? slice_make(pool, LONG_KEY) : k == 8 ? slice_make("", 0) : printed("k%lld", k);
}

static struct slice any_number(void) {
    return PICK("0", "1", "-1", "2", "3", "7", "8", "10", "16", "31", "63", "64", "65", "100", "255", "1000", "4095", "5000", "70000",
                "-2", "-100", "2147483648", "4294967296", "9223372036854775807", "-9223372036854775808", "9223372036854775808", "1.5",
                "-0.25", "1e300", "inf", "nan", "abc", "", " 1", "01", "0x10");
}

static struct slice any_value(void) {
    static const uint16_t lengths[] = {0, 1, 5, 20, 44, 45, 63, 64, 65, 200, 1000, 1100, 1152, 1200, 4000, 20000};
    switch (take_below(4)) {
    case 0:
        return any_number();
    case 1:
        return raw_bytes();
    case 2:
        return printed("v%lld", take_below(8));
    default:
        return slice_make(pool + take_below(16), lengths[take_below(16)]);
    }
}

/* A payload for RESTORE: one a DUMP gave, perhaps bent, or none at all; the checksum right, so that it is no wall. */
static struct slice any_dump(void) {
    char bytes[4096];
    size_t n = 0;
    unsigned how = take_below(4);
    if (how < 3 && last_dump.n >= 10 && last_dump.n <= sizeof(bytes)) {
        memcpy(bytes, last_dump.p, last_dump.n);
        n = last_dump.n - 8;
        if (how == 2) {
            bytes[take_below((unsigned)n)] = (char)take();
        }
    } else {
        struct slice raw = raw_bytes();
        bytes[n++] = (char)take_below(21);
        memcpy(bytes + n, raw.p, raw.n);
        n += raw.n;
        bytes[n++] = 10;
        bytes[n++] = 0;
    }
    uint64_t crc = crc64(0, bytes, n);
    memcpy(bytes + n, &crc, sizeof(crc));
    return keep(bytes, n + sizeof(crc));
}

static struct slice any_deadline(long long unit) {
    static const int16_t seconds[] = {-10, 0, 1, 2, 10, 1000};
    return printed("%lld", (clock_now_ms() + seconds[take_below(6)] * 1000LL) / unit);
}

static bool has(struct slice name, const char *part) {
    return memmem(name.p, name.n, part, strlen(part)) != NULL;
}

static struct slice argument(struct slice name) {
    if (has(name, "unix-time-s")) {
        return any_deadline(1000);
    }
    if (has(name, "unix-time-m")) {
        return any_deadline(1);
    }
    if (has(name, "key") || has(name, "source") || slice_eq(name, SLICE("destination"))) {
        return any_key();
    }
    if (has(name, "serialized")) {
        return any_dump();
    }
    if (has(name, "field")) {
        return take_below(8) == 0 ? any_value() : printed("f%lld", take_below(16));
    }
    if (has(name, "value") || has(name, "message")) {
        return any_value();
    }
    if (has(name, "encoding")) {
        return PICK("u1", "u8", "i8", "u16", "i16", "i64", "u63", "u64", "i5", "x3", "i0", "u");
    }
    if (has(name, "pattern")) {
        return PICK("*", "k*", "f?", "[a-k]*", "k[^1]", "\\k1", "*1*", "[", "", "hash*");
    }
    if (has(name, "db") || has(name, "index")) {
        return PICK("0", "1", "2", "3", "4", "-1", "x");
    }
    if (has(name, "error")) {
        return PICK("0.01", "0.5", "0.0001", "1e-9", "0.99", "0", "1", "nan", "x");
    }
    if (has(name, "capacity")) {
        return PICK("1", "4", "30", "1000", "70000", "0", "-1", "99999999999", "9223372036854775807", "x");
    }
    if (has(name, "item")) {
        return take_below(8) == 0 ? any_value() : printed("item%lld", take_below(64));
    }
    if (has(name, "protover")) {
        return PICK("2", "3", "4", "x");
    }
    if (has(name, "section")) {
        return PICK("all", "server", "memory", "keyspace", "commandstats", "errorstats", "everything", "x");
    }
    if (slice_eq(name, SLICE("type"))) {
        return PICK("string", "hash", "list", "null", "map", "set", "double", "push", "attrib", "verbatim", "bignum", "x");
    }
    if (has(name, "command")) {
        const struct cmd *cmd = registry_at(take() % registry_count());
        return slice_cstr(cmd->full_name);
    }
    return take_below(4) == 0 ? raw_bytes() : any_number();
}

static void push(struct args *a, struct slice s) {
    if (a->n < MAX_ARGS) {
        a->v[a->n++] = s;
    }
}

/* ---- syntax ---- */

static const char *matching(const char *p, const char *end) {
    int depth = 0;
    for (; p < end; p++) {
        depth += *p == '[' ? 1 : *p == ']' ? -1 : 0;
        if (depth == 0) {
            return p;
        }
    }
    return end;
}

/* The next element of p: a word or a bracketed group. */
static const char *element_end(const char *p, const char *end) {
    if (*p == '[') {
        const char *close = matching(p, end);
        return close < end ? close + 1 : end;
    }
    while (p < end && *p != ' ') {
        p++;
    }
    return p;
}

static const char *skip_spaces(const char *p, const char *end) {
    while (p < end && *p == ' ') {
        p++;
    }
    return p;
}

/* A choice between whole sequences, at the top of a group: the start and end of the one taken. */
static void choose(const char **p, const char **end) {
    const char *bars[16], *at = *p;
    unsigned n = 0;
    for (; at < *end && n < 15; at = skip_spaces(element_end(at, *end), *end)) {
        if (*at == '|') {
            bars[n++] = at;
        }
    }
    unsigned k = n == 0 ? 0 : take_below(n + 1);
    const char *from = k == 0 ? *p : bars[k - 1] + 1;
    *end = k == n ? *end : bars[k];
    *p = skip_spaces(from, *end);
}

static void expand(struct args *a, const char *p, const char *end, bool top, int depth);

static void expand_group(struct args *a, const char *p, const char *end, int depth) {
    bool repeats = end - p >= 3 && memcmp(end - 3, "...", 3) == 0;
    unsigned times = repeats ? take_below(4) : take() & 1;
    end -= repeats ? 3 : 0;
    for (; times > 0 && depth < 6; times--) {
        const char *from = p, *to = end;
        choose(&from, &to);
        expand(a, from, to, false, depth + 1);
    }
}

static void expand(struct args *a, const char *p, const char *end, bool top, int depth) {
    for (p = skip_spaces(p, end); p < end;) {
        const char *stop = element_end(p, end);
        const char *next = skip_spaces(stop, end);
        if (*p == '[') {
            expand_group(a, p + 1, stop - 1, depth);
            p = next;
            continue;
        }
        while (top && next < end && *next == '|') { /* at the top a bar joins single words */
            const char *other = skip_spaces(next + 1, end);
            const char *other_stop = element_end(other, end);
            if (take() & 1) {
                p = other;
                stop = other_stop;
            }
            next = skip_spaces(other_stop, end);
        }
        struct slice word = slice_make(p, (size_t)(stop - p));
        bool token = *p < 'a' || *p > 'z';
        if (!slice_eq(word, SLICE("...")) && !slice_eq(word, SLICE("|"))) {
            push(a, token ? word : argument(word));
        }
        p = next;
    }
}

/* ---- commands ---- */

/* What stops the process, waits for the real clock, writes files, speaks unasked, keeps silent or takes long. */
static bool excluded(const char *name) {
    static const char *const names[] = {"shutdown", "save", "bgsave", "monitor", "debug|sleep", "debug|clock", "debug|populate",
                                        "debug|reload", "config|rewrite", "client|reply", "memory|purge", "memory|malloc-stats",
                                        "config|set"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(name, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

static void put_name(struct args *a, const struct cmd *cmd) {
    if (cmd->parent != NULL) {
        push(a, slice_cstr(cmd->parent->row->name));
    }
    push(a, slice_cstr(cmd->row->name));
}

static void config_set(struct args *a) {
    static const char *const pairs[][2] = {
        {"hash-max-listpack-entries", "0"},  {"hash-max-listpack-entries", "3"},  {"hash-max-listpack-entries", "128"},
        {"hash-max-listpack-value", "8"},    {"hash-max-listpack-value", "64"},   {"maxmemory", "1mb"},
        {"maxmemory", "64kb"},               {"maxmemory", "0"},                  {"maxmemory-policy", "allkeys-s3fifo"},
        {"maxmemory-policy", "noeviction"},  {"maxmemory-policy", "volatile-ttl"}, {"maxmemory-policy", "allkeys-lfu"},
        {"maxmemory-policy", "volatile-lru"}, {"maxmemory-policy", "allkeys-random"}, {"slowlog-log-slower-than", "0"},
        {"slowlog-max-len", "2"},            {"latency-monitor-threshold", "1"},  {"timeout", "5"},
        {"proto-max-bulk-len", "2mb"},       {"loglevel", "nothing"},             {"save", "nonsense"},
        {"maxmemory-samples", "64"},         {"hz", "x"},                         {"no-such", "1"}};
    const char *const *pair = pairs[take_below(sizeof(pairs) / sizeof(pairs[0]))];
    push(a, SLICE("config"));
    push(a, SLICE("set"));
    push(a, slice_cstr(pair[0]));
    push(a, slice_cstr(pair[1]));
}

static void from_table(struct args *a) {
    const struct cmd *cmd = registry_at(take() % registry_count());
    if (strcmp(cmd->full_name, "config|set") == 0) {
        config_set(a);
        return;
    }
    if (excluded(cmd->full_name)) {
        cmd = registry_find(SLICE("ping"));
    }
    put_name(a, cmd);
    if (cmd->subs == NULL) {
        const char *syntax = cmd->row->syntax;
        expand(a, syntax, syntax + strlen(syntax), true, 0);
    }
}

/* The commonest writers, so that there is something to work on. */
static void common(struct args *a) {
    static const char *const names[] = {"set", "hset", "setbit", "append", "get", "hdel", "del", "expire", "dump", "restore", "incr",
                                        "hgetall", "setrange", "copy", "rename", "hincrby", "bitfield", "getex", "mset", "scan",
                                        "bf.reserve", "bf.madd"};
    const struct cmd *cmd = registry_find(pick(names, sizeof(names) / sizeof(names[0])));
    put_name(a, cmd);
    expand(a, cmd->row->syntax, cmd->row->syntax + strlen(cmd->row->syntax), true, 0);
}

/* Bends the arguments: one gone, one more, one replaced. The name stays, so that exclusions hold. */
static void bend(struct args *a) {
    int fixed = a->n > 1 && registry_find(a->v[0])->subs != NULL ? 2 : 1;
    switch (take_below(3)) {
    case 0:
        a->n -= a->n > fixed;
        break;
    case 1:
        push(a, raw_bytes());
        break;
    default:
        if (a->n > fixed) {
            a->v[fixed + (int)take_below((unsigned)(a->n - fixed))] = any_value();
        }
        break;
    }
}

/* ---- the stream ---- */

struct state {
    struct rig *rig;
    bool may_close; /* something was said that ends connections */
    int64_t moved_ms;
};

static void check_alive(struct state *s) {
    for (int i = 0; i < RIG_CLIENTS; i++) {
        if (s->rig->clients[i].fd < 0) {
            CHECK(s->may_close);
            rig_connect(s->rig, i);
        }
    }
}

static void settle(struct state *s) {
    rig_settle(s->rig);
    check_alive(s);
    rig_forget(s->rig);
}

static void keep_dump(const struct rig_client *c) {
    const char *end = memchr(c->in.p, '\r', c->in.n);
    if (c->in.n > 16 && c->in.p[0] == '$' && end != NULL) {
        buf_clear(&last_dump);
        buf_put(&last_dump, end + 2, c->in.n - (size_t)(end + 2 - c->in.p) - 2);
    }
}

static void send_command(struct state *s, int client, const struct args *a, bool wait) {
    struct buf b = {0};
    struct rig_client *c = &s->rig->clients[client];
    const struct slice name = a->v[0];
    c->resp3 |= slice_eqi(name, "hello");
    s->may_close |= slice_eqi(name, "quit") || slice_eqi(name, "client");
    rig_put_command(&b, a->v, a->n);
    rig_send(s->rig, client, buf_slice(&b), 1);
    buf_free(&b);
    if (!wait) {
        return;
    }
    bool dump = slice_eqi(name, "dump") && c->pending == 1;
    rig_settle(s->rig);
    if (dump) {
        keep_dump(c);
    }
    check_alive(s);
    rig_forget(s->rig);
}

static void send_words(struct state *s, int client, const char *one, struct slice two) {
    struct args a = {.v = {slice_cstr(one), two}, .n = two.p == NULL ? 1 : 2};
    send_command(s, client, &a, true);
}

static void send_garbage(struct state *s, int client) {
    settle(s);
    struct rig_client *c = &s->rig->clients[client];
    c->resp3 = true;
    rig_send(s->rig, client, raw_bytes(), 0);
    rig_disconnect(s->rig, client); /* how many replies it is owed, nobody knows */
    rig_connect(s->rig, client);
}

static void move_clock(struct state *s) {
    static const int32_t steps[] = {1, 10, 63, 64, 65, 999, 1000, 5000, 16384, 100000, 4194304, -1000};
    int64_t ms = steps[take_below(sizeof(steps) / sizeof(steps[0]))];
    settle(s);
    s->moved_ms += ms;
    s->may_close |= true; /* the timeout directive */
    rig_advance(s->rig, ms);
    settle(s);
}

static void run_one(struct state *s) {
    unsigned op = take();
    int client = (int)(op & 3) % RIG_CLIENTS;
    struct args a = {.n = 0};
    scratch.n = 0;
    switch (op >> 2) {
    case 0:
        move_clock(s);
        return;
    case 1:
        send_garbage(s, client);
        return;
    case 2:
        settle(s);
        rig_connect(s->rig, client);
        return;
    case 3:
        send_words(s, client, "hello", PICK("2", "3"));
        return;
    case 4: case 5:
        send_words(s, client, "multi", (struct slice){0});
        return;
    case 6: case 7:
        send_words(s, client, "exec", (struct slice){0});
        return;
    case 8:
        send_words(s, client, "watch", any_key());
        return;
    case 9:
        send_words(s, client, "select", PICK("0", "1", "2"));
        return;
    case 10:
        settle(s);
        rig_check(s->rig);
        return;
    default:
        break;
    }
    unsigned how = take();
    if (how & 1) {
        common(&a);
    } else {
        from_table(&a);
    }
    if (how >= 224) {
        bend(&a);
    }
    send_command(s, client, &a, (how & 6) != 0); /* a quarter waits for the next: a pipeline */
}

static void check_end(struct state *s) {
    settle(s);
    rig_check(s->rig);
    rig_advance(s->rig, 0);
    rig_check(s->rig);
    rig_check_flushed(s->rig);
    rig_close(&s->rig);
    clock_advance_ms(-s->moved_ms);
}

static void prepare(void) {
    static bool done;
    if (done) {
        return;
    }
    done = true;
    rig_init();
    for (size_t i = 0; i < sizeof(pool); i++) {
        pool[i] = (char)('a' + (i * i + i / 7) % 23);
    }
    CHECK(buf_try_reserve(&scratch, 256 << 10));
    struct rig *r = rig_open(NULL); /* what statics take, they take now */
    rig_close(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const options[] = {"--l1-shards", "2", "--databases", "4", "--maxmemory", "0", "--enable-debug-command", "yes",
                                          "--proto-max-bulk-len", "1mb", NULL};
    prepare();
    rng_seed(1);
    buf_free(&last_dump);
    size_t before = mem_allocated_bytes();
    in = (struct stream_of_bytes){data, data + size};
    struct state s = {.rig = rig_open(options)};
    for (int i = 0; i < MAX_OPS && in.p < in.end; i++) {
        run_one(&s);
    }
    check_end(&s);
    buf_free(&last_dump);
    CHECK(mem_allocated_bytes() == before);
    return 0;
}
