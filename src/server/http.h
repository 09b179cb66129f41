/* SPDX-License-Identifier: BSD-3-Clause */
/* http: the page, /metrics, /api/stats, /healthz and /readyz on a thread of their own, so that no event loop ever waits for them. */
#pragma once

struct http;
struct server;

/* Listens on http-port and starts the thread; host.http_port and host.http_state say what came of it. NULL when the port is 0, or cannot
 * be had: that is logged, and no reason not to serve. Once srv can be asked for its statistics; before any other thread runs. */
struct http *http_start(struct server *srv);
/* Closes every connection and ends the thread; NULL is none. While srv can still be asked. */
void http_stop(struct http **h);
