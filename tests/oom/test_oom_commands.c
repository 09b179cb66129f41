/* SPDX-License-Identifier: BSD-3-Clause */
/* test_oom_commands: a script of commands through a whole server, run again and again with another allocation failing each time.
 * Whatever fails, the command is answered, what answered with an error has changed nothing, and no byte is lost. */
#include "tests/unit/check.h"

#include <stdio.h>
#include <stdlib.h>

#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/server/server.h"
#include "tests/support/rig.h"

enum { MAX_ARGS = 600, BIG = 2 << 20, READ_AT_ONCE = 16 << 10, ENOUGH = 100000 };

/* Words of a line: `@n` is a value of n bytes, `%n` is n fields with values, `!dump` what the last DUMP answered. A line that
 * begins with `~` may be done in part when it fails: it writes several things. */
static const char *const one_by_one[] = {
    "SET s1 short", "SET s2 @200 EX 100", "SET s3 @5000", "SET s4 @300000", "SETEX s5 1000 @40", "PSETEX s6 100000 v", "SETNX s7 @1500",
    "GETSET s1 @2000", "GET s4", "MSET m1 @10 m2 @1300 m3 @9000", "MSETNX n1 1 n2 @1200", "APPEND s1 @100", "APPEND s7 @5000",
    "APPEND fresh @30", "SETRANGE s2 1000 @500", "SETRANGE s3 10000 tail", "SETRANGE far 70000 x", "INCR count", "INCRBY count 9999999",
    "INCRBYFLOAT count 0.25", "GETEX s1 EX 100", "GETEX s1 PERSIST", "GETEX s2 PERSIST", "GETDEL s7", "SET s1 @100 KEEPTTL",
    "SET s3 @20 GET", "LCS s1 s2", "LCS s1 s2 LEN", "LCS s1 s2 IDX", "STRLEN s4", "GETRANGE s4 0 -1", "MGET s1 s2 s4",
    "SET @400 x", "SET @400 @4000", "APPEND @400 @100", "EXPIRE @400 100", "DEL @400",
    "SETBIT b1 7 1", "SETBIT b1 20000 1", "SETBIT b1 200000 1", "BITOP OR b2 b1 s4", "BITOP NOT b3 s1", "BITFIELD b4 SET u8 0 255 INCRBY i64 100 7",
    "BITFIELD b4 SET u8 #5000 1", "BITCOUNT b2", "BITPOS b1 1",
    "HSET h1 a 1", "HSET h1 b @50 c 12345", "HSETNX h1 d @60", "HINCRBY h1 n 5", "HINCRBYFLOAT h1 x 1.5", "HSET h1 a @100", "HSET h1 a @3000",
    "HSET h2 %40", "HSET h2 %200", "HMSET h3 %100", "HSET h4 f @1000", "HSET h4 g 1", "HDEL h4 g", "HDEL h1 a b", "HGETALL h2",
    "HRANDFIELD h2 20", "HRANDFIELD h3 -5 WITHVALUES", "HSCAN h2 0 COUNT 1000", "HMGET h1 c d", "HINCRBY new n 1", "HSET one f v", "HDEL one f",
    "BF.RESERVE bf 0.001 10", "BF.ADD bf @100", "~BF.MADD bf a b c d e f g h i j k l m n", "~BF.INSERT bg CAPACITY 100000 ERROR 0.1 ITEMS x y", "BF.ADD new-bf x",
    "BF.RESERVE fixed 0.01 2 NONSCALING", "BF.MADD fixed a b", "BF.MEXISTS bf a b z", "BF.INFO bf", "BF.CARD bg", "COPY bf bf2", "BF.ADD bf2 other", "RENAME bg bh",
    "DUMP bf", "RESTORE bi 0 !dump",
    "COPY h1 c1", "HSET c1 more @20", "COPY h2 c2", "HSET c2 more @20", "HDEL c2 f1 f2", "COPY s4 c3", "APPEND c3 tail", "COPY s1 c4 DB 1",
    "COPY h1 c5 DB 1", "RENAME c1 r1", "RENAME c3 r2", "RENAMENX s6 r3", "MOVE r2 2", "MOVE r1 2", "EXPIRE h1 100", "PERSIST h1",
    "PEXPIRE s4 100000", "EXPIRE s4 200 GT", "EXPIRE r3 1000", "EXPIREAT s1 99999999999", "DUMP s1", "RESTORE d1 0 !dump", "DUMP s4",
    "RESTORE d2 100000 !dump", "RESTORE d2 0 !dump REPLACE", "DUMP h1", "RESTORE d3 0 !dump", "DUMP h2", "RESTORE d4 5000 !dump",
    "KEYS *", "SCAN 0 COUNT 100", "SCAN 0 MATCH s* TYPE string", "RANDOMKEY", "TOUCH s1 s2", "OBJECT ENCODING h2", "MEMORY USAGE h2", "TYPE h1",
    "DBSIZE", "WATCH s1 h1 @400", "MULTI", "SET s1 @3000", "HSET h1 t 1", "APPEND s2 @2000", "~EXEC", "MULTI", "SET @400 @100", "DISCARD",
    "CONFIG SET hash-max-listpack-entries 4", "HSET h5 %10", "CONFIG SET maxmemory 100mb", "CONFIG GET *", "CONFIG SET slowlog-log-slower-than 0",
    "SET s8 @1000", "SLOWLOG GET 10", "CLIENT SETNAME someone", "CLIENT LIST", "INFO all", "COMMAND DOCS get", "HELLO 3", "HGETALL h1", "SET big @1500000",
    "SET big @1500000", "COPY big big2", "GET big2", "BITOP AND b5 big big2", "DUMP big", "RESTORE d5 0 !dump", "SWAPDB 0 1", "SWAPDB 0 1",
    "UNLINK h2 h3", "DEL big", "FLUSHDB", "SET after 1", "FLUSHALL", NULL};

/* What writes several keys or fields, or writes over what was there. */
static const char *const several[] = {
    "MSET s1 @10 s2 @1300 s3 @3000 @300 x", "SET s4 @100 EX 1000", "HSET h1 f v g 2",
    "MSET s1 again s2 @200 s3 @5000 s4 @6000 m9 @300 @300 @30 h1 now-a-string m1 @11", "MSET d 1 d @300 d @2000 d 4",
    "MSET s1 @1000 s1 a s1 @40 s1 b", "MSET big @20000", "MSETNX x1 @300 x1 @20 x2 @3000 x3 c", "MSETNX x4 1 x1 @300",
    "HSET h6 a 1 b 2", "HSET h6 b @30 c 3 d @10", "HSET h6 e 1 f @70 g 2 b last", "HSET h7 %130", "HSET h7 f0 replaced f1 @300 new1 @10 f2 @40 f2 twice",
    "HMSET h8 %60", "HMSET h8 %140", "HSETNX h8 f0 1", "HDEL h8 f0 f1 f2 none", "COPY h8 c8", "HSET c8 f3 @20 f4 @20 more 1", "HSET h9 %3",
    "EXPIRE h9 100", "HSET h9 f1 9 z 1", "DEL h6 h7 c8", "SET s6 @20", "COPY s3 s6 REPLACE", "COPY h8 s1 REPLACE", "COPY s3 s2 DB 1 REPLACE",
    "RENAME s6 s2", "RENAME h9 m1", "RENAMENX h8 fresh", "SET g1 @30 NX EX 100", "SET g1 @1400 XX GET PX 100000", "SET g1 @10 XX KEEPTTL",
    "GETSET g1 @3000", "GETEX g1 EXAT 99999999999", "SETRANGE g1 0 @5000", "SETRANGE g2 3 abc", "APPEND g2 @1200",
    "BITFIELD g3 SET u8 #0 1 SET u8 #900 2 INCRBY i16 #2000 3 GET u8 0", "BITFIELD g3 OVERFLOW FAIL INCRBY u2 0 3 INCRBY u2 0 3",
    "SETBIT g3 90000 1", "BITOP XOR g4 g3 g2 s3", "BITOP AND g3 g3 g4", "HSET i n 5", "HINCRBY i n 3", "HINCRBYFLOAT i n 1.5",
    "DUMP i", "RESTORE g1 0 !dump REPLACE", "RESTORE g2 5000 !dump REPLACE ABSTTL", "MOVE g4 1", "MSET g4 @100 g3 @2000",
    "WATCH s2", "MULTI", "MSET s1 1 s2 @2000 s3 @100", "HSET i a @10 b @20", "~EXEC", "UNLINK g1 g3 x1 x2", "FLUSHALL", NULL};

static const char *const *script;

static char bytes[BIG];
static struct buf dump;

struct line {
    struct slice argv[MAX_ARGS];
    int argc;
    bool partly;
    char text[64 << 10]; /* of the words */
    size_t n;
};

static struct slice line_keep(struct line *l, const char *p, size_t n) {
    assert_true(l->n + n <= sizeof(l->text));
    memcpy(l->text + l->n, p, n);
    l->n += n;
    return slice_make(l->text + l->n - n, n);
}

static void add_pairs(struct line *l, int n) {
    char text[64];
    for (int i = 0; i < n; i++) {
        l->argv[l->argc++] = line_keep(l, text, (size_t)snprintf(text, sizeof(text), "f%d", i));
        l->argv[l->argc++] = line_keep(l, text, (size_t)snprintf(text, sizeof(text), i % 3 == 0 ? "%d" : "value:%d", i));
    }
}

static void read_line(const char *text, struct line *l) {
    l->argc = 0;
    l->n = 0;
    l->partly = *text == '~';
    text += l->partly;
    while (*text != '\0') {
        size_t n = strcspn(text, " ");
        if (*text == '@') {
            l->argv[l->argc++] = slice_make(bytes, (size_t)atoi(text + 1));
        } else if (*text == '%') {
            add_pairs(l, atoi(text + 1));
        } else if (*text == '!') {
            l->argv[l->argc++] = buf_slice(&dump);
        } else {
            l->argv[l->argc++] = line_keep(l, text, n);
        }
        text += n + (text[n] == ' ');
    }
}

static size_t line_bytes(const struct line *l) {
    size_t n = 0;
    for (int i = 0; i < l->argc; i++) {
        n += l->argv[i].n;
    }
    return n;
}

/* What is to fail next, put aside while the test looks around itself. */
struct aside {
    bool on;
    uint64_t left;
};

static bool failing_all;

static struct aside put_aside(void) {
    struct aside a = {.left = mem_fail_left()};
    a.on = a.left == 0 && failing_all;
    mem_fail_nth(0);
    return a;
}

static void take_up(struct aside a) {
    if (failing_all) {
        mem_fail_from(a.on ? 1 : a.left);
    } else {
        mem_fail_nth(a.left);
    }
}

static bool says_no_memory(struct slice reply) {
    static const char *const texts[] = {"-ERR out of memory", "-OOM ", "-ERR Insufficient memory", "-ERR problem inserting", "-EXECABORT"};
    for (int i = 0; i < 5; i++) {
        if (reply.n > strlen(texts[i]) && memcmp(reply.p, texts[i], strlen(texts[i])) == 0) {
            return true;
        }
    }
    return false;
}

/* An error within a reply: of EXEC. */
static bool error_inside(struct slice reply) {
    return reply.p[0] == '*' && memmem(reply.p, reply.n, "\r\n-", 3) != NULL;
}

static void keep_dump(struct slice reply) {
    const char *end = memchr(reply.p, '\n', reply.n);
    buf_clear(&dump);
    if (reply.n > 10 && reply.p[0] == '$' && end != NULL) {
        buf_put(&dump, end + 1, reply.n - (size_t)(end + 1 - reply.p) - 2);
    }
}

static uint64_t failing_nth;

static void expect(bool holds, const char *claim, const char *text, struct slice reply) {
    if (!holds) {
        fail_msg("allocation %llu%s: %s: %s: %.*s", (unsigned long long)failing_nth, failing_all ? " and all behind it" : "", text,
                 claim, (int)(reply.n < 200 ? reply.n : 200), reply.p);
    }
}

static void run_line(struct rig *r, const char *text, bool failed_before) {
    static struct line l;
    read_line(text, &l);
    struct aside a = put_aside();
    bool look = failing_all || !failed_before;
    uint64_t before = look ? rig_digest(r) : 0;
    int64_t changes = atomic_load(&r->srv->host.dirty);
    take_up(a);
    struct slice reply = rig_call(r, 0, l.argv, l.argc);
    a = put_aside();
    bool failed_now = a.left == 0 && !failed_before;
    bool closed = r->clients[0].fd < 0;
    if (closed) {
        expect(line_bytes(&l) > READ_AT_ONCE, "closed only when the bytes cannot be taken in", text, reply);
        rig_connect(r, 0);
    } else if (reply.p[0] == '-') {
        expect(failed_now || failed_before, "no error while there is memory", text, reply);
        expect(!failed_now || says_no_memory(reply), "the error says why", text, reply);
        expect(l.partly || !look || rig_digest(r) == before, "an error has changed nothing", text, reply);
        expect(atomic_load(&r->srv->host.dirty) == changes, "an error counts for no change", text, reply);
    } else if (slice_eqi(l.argv[0], "exec")) {
        expect(failed_now || failed_before || !error_inside(reply), "no error inside while there is memory", text, reply);
    }
    if (slice_eqi(l.argv[0], "dump") && !closed) {
        keep_dump(reply);
    }
    if (failed_now) {
        rig_check(r);
    }
    take_up(a);
}

/* Runs the script with the nth allocation failing, and those behind it when all. False when there were not so many. */
static bool run_script(uint64_t n, bool all) {
    size_t before = mem_allocated_bytes();
    struct rig *r = rig_open((const char *const[]){"--l1-shards", "2", "--databases", "4", "--maxmemory", "0", NULL});
    bool failed = false;
    failing_all = all;
    failing_nth = n;
    if (all) {
        mem_fail_from(n);
    } else {
        mem_fail_nth(n);
    }
    for (size_t i = 0; script[i] != NULL; i++) {
        run_line(r, script[i], failed);
        failed = n != 0 && mem_fail_left() == 0;
    }
    mem_fail_nth(0);
    rig_check(r);
    rig_check_flushed(r);
    rig_close(&r);
    buf_free(&dump);
    assert_int_equal(mem_allocated_bytes(), before);
    return failed;
}

static int prepare(void **state) {
    (void)state;
    rig_init();
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (char)('a' + i % 23);
    }
    struct rig *r = rig_open(NULL); /* what statics take, they take now */
    rig_close(&r);
    return 0;
}

static const char *const *const scripts[] = {one_by_one, several};

static void scripts_pass_with_memory(void **state) {
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        rng_seed(3);
        script = scripts[i];
        assert_false(run_script(0, false));
    }
}

/* With the first allocation failing, then the one that many behind it, and so on. */
static void fail_each(bool all, uint64_t step) {
    for (size_t i = 0; i < 2; i++) {
        uint64_t n = 1;
        script = scripts[i];
        do {
            rng_seed(3);
        } while (run_script(n, all) && (n += step) < ENOUGH);
        print_message("%llu allocations\n", (unsigned long long)n);
        assert_true(n > 100);
    }
}

static void commands_survive_any_one_failure(void **state) {
    (void)state;
    fail_each(false, 1);
}

static void commands_survive_the_end_of_memory(void **state) {
    (void)state;
    fail_each(true, 7);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(scripts_pass_with_memory), cmocka_unit_test(commands_survive_any_one_failure),
                                       cmocka_unit_test(commands_survive_the_end_of_memory)};
    return cmocka_run_group_tests(tests, prepare, NULL);
}
