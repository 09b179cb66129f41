/* SPDX-License-Identifier: BSD-3-Clause */
/* profile: DEBUG PROFILE, and captures that the server takes of itself: files under `dir`. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct call;
struct profile;

enum { PROFILE_MAX_MS = 60000, PROFILE_CAPTURES = 8 /* files of captures; the oldest is overwritten */ };

struct profile *profile_create(void);
/* No call may wait for one. */
void profile_destroy(struct profile **p);
/* From now on one under way ends at once. Any thread. */
void profile_stopping(struct profile *p);
/* On the calling thread, which waits: so many milliseconds, into the next of PROFILE_CAPTURES files, whose name is put into path
 * (64 bytes). False when another is being taken, or it cannot be written. */
bool profile_capture(struct profile *p, int64_t ms, char *path);
/* DEBUG PROFILE CPU seconds [path], DEBUG PROFILE HEAP [path]: host_ops.profile. */
enum err profile_command(struct call *c);
