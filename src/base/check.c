/* SPDX-License-Identifier: BSD-3-Clause */
/* check: the end of a process whose invariants no longer hold. */
#include "src/base/check.h"

#include <stdio.h>
#include <stdlib.h>

static void (*crash_hook)(void);

void check_set_hook(void (*hook)(void)) {
    crash_hook = hook;
}

void check_failed(const char *cond, const char *file, int line, const char *func) {
    fprintf(stderr, "CHECK failed: %s at %s:%d in %s\n", cond, file, line, func);
    if (crash_hook != NULL) {
        void (*hook)(void) = crash_hook;
        crash_hook = NULL; /* a failure inside the hook must not recurse */
        hook();
    }
    abort();
}
