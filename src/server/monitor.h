/* SPDX-License-Identifier: BSD-3-Clause */
/* monitor: every call, shown to the clients that asked with MONITOR. */
#pragma once

struct call;
struct server;

/* Sends the call's line to the monitors of every loop. */
void monitor_feed(struct server *srv, const struct call *c);
/* Host operation: makes the caller a monitor. */
void monitor_start(struct call *c);
