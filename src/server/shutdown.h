/* SPDX-License-Identifier: BSD-3-Clause */
/* shutdown: the orderly stop: no new connections, replies finished, files written. */
#pragma once

#include "src/base/err.h"

struct call;
struct worker;

/* Host operation. */
enum err shutdown_command(struct call *c, unsigned flags);
/* One turn of a draining worker: closes sessions that have nothing left to send; stops the loop when none is left. */
void shutdown_drain_turn(struct worker *w);
