/* SPDX-License-Identifier: BSD-3-Clause */
/* survey: the store's walks over its keys, in the background, a few at a time behind all reads that somebody waits for. The writer
 * begins and ends one between two batches, so that the store knows of every key that is written while its walk is under way. */
#include "persist/disk_int.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/rt/pool.h"

enum { STEP_KEYS = 512, FAILED_PAUSE_US = 60000000 };

struct survey_job {
    struct job job;
    struct disk *d;
    void *survey;
    bool more;
};

static void run(struct job *job) {
    struct survey_job *j = (struct survey_job *)job;
    j->more = j->d->store->survey_step(j->d->store, j->survey, STEP_KEYS);
}

/* Once more, or that was all. */
static void done(struct job *job) {
    struct survey_job *j = (struct survey_job *)job;
    struct disk *d = j->d;
    bool wanted = j->more && disk_still_serves(d) && !atomic_load(&d->closing);
    if (wanted && pool_submit(d->pool, READS_IN_BACKGROUND, &j->job)) {
        return;
    }
    mem_free(j);
    disk_leave(d);
    atomic_store(&d->survey_walked, true); /* the last that is done to the tier here */
}

static void end(struct disk *d, int64_t now_us) {
    bool learnt = d->store->survey_end(d->store, d->survey);
    d->survey = NULL;
    disk_count(&d->count.surveys, learnt);
    d->survey_after_us = learnt ? 0 : now_us + FAILED_PAUSE_US;
}

void survey_if_due(struct disk *d) {
    int64_t now_us = clock_mono_us();
    d->surveyed = d->store->survey_begin == NULL;
    if (d->survey != NULL && atomic_load(&d->survey_walked)) {
        end(d, now_us);
    }
    if (d->surveyed || d->survey != NULL || now_us < d->survey_after_us || !disk_enter(d)) {
        return;
    }
    d->survey = d->store->survey_begin(d->store);
    d->surveyed = d->survey == NULL;
    if (d->surveyed) {
        disk_leave(d);
        return;
    }
    struct survey_job *j = mem_zalloc(sizeof(*j));
    *j = (struct survey_job){.job = {.run = run, .done = done}, .d = d, .survey = d->survey};
    atomic_store(&d->survey_walked, false);
    if (!pool_submit(d->pool, READS_IN_BACKGROUND, &j->job)) {
        mem_free(j);
        disk_leave(d);
        end(d, now_us);
    }
}

void survey_close(struct disk *d) {
    if (d->survey != NULL) {
        end(d, 0);
    }
}
