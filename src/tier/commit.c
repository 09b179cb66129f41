/* SPDX-License-Identifier: BSD-3-Clause */
/* commit: hands one changed key to every sink, in the order the changes were made. */
#include "src/base/check.h"
#include "src/tier/tier.h"

void tier_init(struct tier *t, struct l1 *l1) {
    *t = (struct tier){.l1 = l1, .fill_deadline_ms = 5000};
}

void tier_add_source(struct tier *t, struct source *s) {
    CHECK(t->source_count < TIER_MAX_SOURCES);
    t->sources[t->source_count++] = s;
}

void tier_add_sink(struct tier *t, struct sink *s) {
    CHECK(t->sink_count < TIER_MAX_SINKS);
    t->sinks[t->sink_count++] = s;
}

void tier_commit_slow(struct tier *t, enum sink_change change, const struct key *key,
                      int64_t now_ms, struct sink_ack *ack, int *acks) {
    struct item_view item;
    bool present = (change == SINK_SET || change == SINK_EXPIRE) &&
                   l1_get(t->l1, key, now_ms, L1_NOTOUCH, &item);
    if (!present && change != SINK_FLUSH_DB && change != SINK_FLUSH_ALL) {
        change = SINK_DEL; /* set with a deadline that has just passed */
    }
    for (unsigned i = 0; i < t->sink_count; i++) {
        struct sink *s = t->sinks[i];
        if (s->changed(s, change, key, present ? &item : NULL, ack)) {
            ++*acks;
        }
    }
}
