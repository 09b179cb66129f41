/* SPDX-License-Identifier: BSD-3-Clause */
/* redis_process: Debian's redis-server on a free port of 127.0.0.1, in a directory of its own. */
#pragma once

#include <stdbool.h>

struct redis_process;

/* options: words of the command line, ended by NULL; may be NULL. NULL when there is no redis-server. */
struct redis_process *redis_start(const char *const *options);
int redis_port(const struct redis_process *p);
/* SIGKILL, and wait. */
void redis_kill(struct redis_process *p);
/* The same port and options again. */
void redis_restart(struct redis_process *p);
/* SIGSTOP, SIGCONT. */
void redis_freeze(struct redis_process *p);
void redis_thaw(struct redis_process *p);
/* Kills it and removes its directory. */
void redis_end(struct redis_process **p);

/* Sends a command over a connection of its own, words up to NULL; the reply as it came, cut to what fits. Static. */
const char *redis_tell(const struct redis_process *p, const char *word, ...);
