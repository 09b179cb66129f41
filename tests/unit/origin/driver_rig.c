/* SPDX-License-Identifier: BSD-3-Clause */
/* driver_rig: a core without queue, breaker and retries. */
#include "tests/unit/origin/driver_rig.h"

#include <stdio.h>

#include "src/base/check.h"

void __wrap_request_end(struct request *r, bool retry);

void __wrap_request_end(struct request *r, bool retry) {
    struct ask *a = (struct ask *)(void *)r;
    CHECK(!a->ended); /* once */
    CHECK(r->result != REQUEST_FAILED || r->error != NULL);
    a->ended = true;
    a->retry = retry;
}

void rig_options(struct driver_rig *rig) {
    *rig = (struct driver_rig){0};
    rig->options.timeout_ms = 1000;
    rig->options.connect_ms = 500;
    rig->options.concurrency = 64;
    rig->options.max_value = 64 << 20;
}

void rig_open(struct driver_rig *rig, const struct origin_driver *driver, const char *url) {
    struct buf why = {0};
    run_loop_open(&rig->run);
    rig->driver = driver;
    rig->self = driver->open(slice_cstr(url), &rig->options, rig->run.loop, &rig->conns, &why);
    assert_non_null(rig->self);
    assert_int_equal(why.n, 0);
}

static void on_closed(void *ctx) {
    *(bool *)ctx = true;
}

void rig_close(struct driver_rig *rig) {
    rig->driver->close(rig->self, on_closed, &rig->closed);
    assert_true(run_loop_flag_set(&rig->run, &rig->closed));
    assert_int_equal(STAT_GET(rig->conns.open) + STAT_GET(rig->conns.idle), 0);
    run_loop_close(&rig->run);
}

const char *rig_refusal(const struct origin_driver *driver, const char *url) {
    static char text[200];
    struct origin_options options = {.max_value = 1 << 20, .concurrency = 1};
    struct buf why = {0};
    bool closed = false;
    void *self = driver->open(slice_cstr(url), &options, NULL, NULL, &why);
    assert_true((self == NULL) == (why.n > 0));
    snprintf(text, sizeof(text), "%.*s", SLICE_ARG(buf_slice(&why)));
    buf_free(&why);
    if (self != NULL) {
        driver->close(self, on_closed, &closed);
        assert_true(closed);
        return NULL;
    }
    return text;
}

void rig_start(struct driver_rig *rig, struct ask *a, enum request_kind kind, const char *key) {
    struct item_view item = a->r.item;
    *a = (struct ask){.r = {.kind = kind, .key = slice_cstr(key), .item = item, .life = {-1, -1, -1, false}, .found.expire_ms = -1}};
    rig->driver->start(rig->self, &a->r);
}

void rig_wait(struct driver_rig *rig, struct ask *a) {
    assert_true(run_loop_flag_set(&rig->run, &a->ended));
}

void rig_cancel(struct driver_rig *rig, struct ask *a) {
    assert_false(a->ended);
    rig->driver->cancel(rig->self, &a->r);
}

static const char *print(struct ask *a, const char *ok) {
    static char text[256];
    if (a->r.result == REQUEST_FAILED) {
        snprintf(text, sizeof(text), "!%s", a->r.error);
    } else if (a->r.result == REQUEST_ABSENT) {
        snprintf(text, sizeof(text), "(absent)");
    } else if (ok != NULL) {
        snprintf(text, sizeof(text), "%s", ok);
    } else if (a->r.found.value != NULL) {
        snprintf(text, sizeof(text), "(%s of %zu)", value_type_name(a->r.found.value->type), value_len(a->r.found.value));
    } else {
        snprintf(text, sizeof(text), "%.*s", SLICE_ARG(buf_slice(&a->r.found.str)));
    }
    found_free(&a->r.found);
    return text;
}

const char *rig_load(struct driver_rig *rig, const char *key) {
    struct ask a = {0};
    rig_start(rig, &a, REQUEST_LOAD, key);
    rig_wait(rig, &a);
    return print(&a, NULL);
}

bool rig_recovers(struct driver_rig *rig, const char *key) {
    int64_t give_up_us = clock_mono_us() + 10 * 1000000;
    while (clock_mono_us() < give_up_us) {
        const char *said = rig_load(rig, key);
        if (said[0] != '!' && said[0] != '(') {
            return true;
        }
        run_loop_for(&rig->run, 5);
    }
    return false;
}

const char *rig_put(struct driver_rig *rig, const char *key, const char *value, int64_t ttl_ms) {
    struct ask a = {.r.item = {.type = TYPE_STRING, .str = slice_cstr(value), .expire_ms = ttl_ms < 0 ? -1 : clock_now_ms() + ttl_ms}};
    rig_start(rig, &a, REQUEST_PUT, key);
    rig_wait(rig, &a);
    return print(&a, "OK");
}

const char *rig_del(struct driver_rig *rig, const char *key) {
    struct ask a = {0};
    rig_start(rig, &a, REQUEST_DEL, key);
    rig_wait(rig, &a);
    return print(&a, "OK");
}
