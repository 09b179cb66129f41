/* SPDX-License-Identifier: BSD-3-Clause */
/* breaker: a gate in front of something that may be down. Pure: no clock, no lock; time is whatever the caller counts.
 *
 *            failures among the last `window` reach the limit
 *   CLOSED ------------------------------------------------------> OPEN: everything is refused
 *     ^                                                             |  ^
 *     | the trial succeeds                        after `open_ms`   |  | the trial fails
 *     +----------------------------- HALF_OPEN <--------------------+  |
 *                                    one trial, all else is refused ---+
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN };

enum breaker_outcome {
    OUTCOME_GOOD,
    OUTCOME_BAD,
    OUTCOME_NONE /* admitted, but nothing was learnt: a trial may be made by another */
};

struct breaker {
    enum breaker_state state;
    uint32_t window;   /* outcomes that are remembered */
    uint32_t limit;    /* opens at so many failures among them; 0: never */
    uint32_t next;     /* place of the oldest, which the next one takes */
    uint32_t failures;
    uint8_t *bad;      /* bool per place */
    int64_t open_ms, until_ms;
    bool trial;        /* HALF_OPEN: it is out */
    uint32_t era;      /* counts changes of state: what was admitted before the last one says nothing any more */
};

/* share_ppm: of window, in millionths; 0 for a breaker that never opens. */
void breaker_init(struct breaker *b, uint32_t window, int64_t share_ppm, int64_t open_ms);
void breaker_fini(struct breaker *b);

/* May this one go? If so it must be reported, with the era. */
bool breaker_admit(struct breaker *b, int64_t now_ms, uint32_t *era);
/* True when this made it open. */
bool breaker_report(struct breaker *b, uint32_t era, enum breaker_outcome outcome, int64_t now_ms);

/* Whether breaker_admit would say no. */
bool breaker_refuses(const struct breaker *b, int64_t now_ms);
/* An open breaker whose time is over is half-open, though nobody has asked since. */
enum breaker_state breaker_state_at(const struct breaker *b, int64_t now_ms);
const char *breaker_state_name(enum breaker_state s);
