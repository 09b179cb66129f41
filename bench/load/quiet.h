/* SPDX-License-Identifier: BSD-3-Clause */
/* quiet: tells when the machine did not run what it was asked to run. A thread on each core, before all others there (SCHED_FIFO),
 * sleeps half a millisecond at a time and sees how late it wakes: what delays it is the hypervisor or the kernel, no process. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct quiet;

/* Watches the cores, a list such as "0,1". Ends the process when that is not allowed. */
struct quiet *quiet_start(const char *cores);
/* When a thread last woke more than a millisecond late, on the clock of sock_now; 0 when none ever did. Any thread. */
uint64_t quiet_last_late(const struct quiet *q);
void quiet_stop(struct quiet *q);
