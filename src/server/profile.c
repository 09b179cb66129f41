/* SPDX-License-Identifier: BSD-3-Clause */
/* profile: one sampling at a time, on a thread that may wait. */
#include "src/server/profile.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/cmd/call.h"
#include "src/server/dir_file.h"
#include "src/server/sampler.h"
#include "src/server/server.h"

enum { SLICE_MS = 50, PATH_BYTES = 1024 };

struct profile {
    struct pool *pool; /* one thread: a profile takes long, and others' work must not wait for it */
    _Atomic bool busy, stopping;
    _Atomic unsigned captures;
};

struct profile *profile_create(void) {
    struct profile *p = mem_zalloc(sizeof(*p));
    p->pool = pool_create(&(struct pool_options){.name = "profile", .threads = 1, .lanes = 1, .depth = 1});
    return p;
}

void profile_destroy(struct profile **p) {
    pool_destroy(&(*p)->pool);
    mem_free(*p);
    *p = NULL;
}

void profile_stopping(struct profile *p) {
    atomic_store(&p->stopping, true);
}

/* ---- sampling ---- */

static bool write_all(int fd, const struct buf *b) {
    for (size_t at = 0; at < b->n;) {
        ssize_t n = write(fd, b->p + at, b->n - at);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        at += (size_t)n;
    }
    return true;
}

/* Samples into an open file and closes it. False with why. */
static bool sample(struct profile *p, int fd, int64_t ms, const char **why) {
    struct buf out = {0};
    struct sampler_counts counts;
    if (!sampler_start()) {
        *why = "cannot be taken now";
        close(fd);
        return false;
    }
    for (int64_t left = ms; left > 0 && !atomic_load(&p->stopping); left -= SLICE_MS) {
        poll(NULL, 0, (int)(left < SLICE_MS ? left : SLICE_MS));
        sampler_look();
    }
    sampler_stop(&out, &counts);
    bool ok = write_all(fd, &out);
    *why = ok ? NULL : "the file cannot be written";
    ok = close(fd) == 0 && ok;
    log_notice("profile: %llu samples of %u threads, %u different stacks, %llu dropped", (unsigned long long)counts.samples, counts.threads,
               counts.stacks, (unsigned long long)counts.dropped);
    buf_free(&out);
    return ok;
}

bool profile_capture(struct profile *p, int64_t ms, char *path) {
    const char *why;
    if (atomic_exchange(&p->busy, true)) {
        return false;
    }
    snprintf(path, 64, "profile-capture-%u.folded", atomic_fetch_add(&p->captures, 1) % PROFILE_CAPTURES);
    unlink(path);
    int fd = dir_file_create(path, &why);
    bool ok = fd >= 0 && sample(p, fd, ms, &why);
    if (!ok) {
        log_warning("profile %s: %s", path, why);
    }
    atomic_store(&p->busy, false);
    return ok;
}

/* ---- the command ---- */

/* A call on its way to its profile and back. */
struct taking {
    struct call_job job; /* first: found by it */
    struct profile *profile;
    bool heap, done;
    int64_t ms;
    const char *why; /* NULL: all is well */
    char path[PATH_BYTES];
};

static void take(struct job *job) {
    struct taking *t = (struct taking *)job;
    int fd = dir_file_create(t->path, &t->why);
    t->done = true;
    if (fd >= 0 && t->heap) {
        close(fd);
        t->why = mem_profile(t->path) ? NULL : "the allocator could not write it";
    } else if (fd >= 0) {
        sample(t->profile, fd, t->ms, &t->why);
    }
    atomic_store(&t->profile->busy, false);
}

static enum err answer(struct call *c, const struct taking *t) {
    if (t->job.refused) {
        atomic_store(&t->profile->busy, false);
    }
    if (t->job.refused || !t->done) {
        return call_errorf(c, "ERR a profile is being taken");
    }
    if (t->why != NULL) {
        return call_errorf(c, "ERR profile %s: %s", t->path, t->why);
    }
    reply_bulk_cstr(c->out, t->path);
    return OK;
}

/* What is asked for: CPU seconds [path], HEAP [path]. */
static enum err parse(struct call *c, struct taking *t) {
    long double seconds = 0;
    int at = 3;
    t->heap = arg_is(c, 2, "heap");
    if (!t->heap && !arg_is(c, 2, "cpu")) {
        return call_errorf(c, "ERR DEBUG PROFILE takes CPU seconds [path], or HEAP [path]");
    }
    if (!t->heap) {
        if (c->argc < 4 || !num_parse_ld(c->argv[3], &seconds) || !(seconds > 0 && seconds * 1000 <= PROFILE_MAX_MS)) {
            return call_errorf(c, "ERR seconds are more than 0, and %d at most", PROFILE_MAX_MS / 1000);
        }
        t->ms = (int64_t)(seconds * 1000) + 1;
        at = 4;
    }
    if (c->argc > at + 1) {
        return ERR_SYNTAX;
    }
    snprintf(t->path, sizeof(t->path), "profile-%lld.%s", (long long)c->now_ms, t->heap ? "heap" : "folded");
    if (c->argc == at + 1) {
        if (c->argv[at].n == 0 || c->argv[at].n >= sizeof(t->path) || memchr(c->argv[at].p, '\0', c->argv[at].n) != NULL) {
            return call_errorf(c, "ERR the path is 1 to %d bytes", PATH_BYTES - 1);
        }
        snprintf(t->path, sizeof(t->path), "%.*s", SLICE_ARG(c->argv[at]));
    }
    return t->heap && !mem_can_profile() ? call_errorf(c, "ERR the heap is not profiled; allowed: jemalloc built with profiling, and the server "
                                                          "started with MALLOC_CONF=prof:true in its environment")
                                         : OK;
}

enum err profile_command(struct call *c) {
    struct profile *p = server_of(c->host)->profile;
    if (c->state != NULL) {
        return answer(c, c->state);
    }
    struct taking *t = mem_zalloc(sizeof(*t));
    enum err e = p != NULL ? parse(c, t) : call_errorf(c, "ERR profiles are not taken here");
    if (e == OK && atomic_exchange(&p->busy, true)) {
        e = call_errorf(c, "ERR a profile is being taken");
    }
    if (e != OK) {
        mem_free(t);
        return e;
    }
    t->profile = p;
    t->job.job.run = take;
    t->job.pool = p->pool;
    c->state = t;
    c->state_free = mem_free;
    return call_wait(c, &t->job);
}
