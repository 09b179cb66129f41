/* SPDX-License-Identifier: BSD-3-Clause */
/* health: a thread that watches the server: busy loops, memory, queues, locks, the disk. What is wrong is counted, logged and shown by
 * INFO; of a busy loop, or too much memory, a profile is taken while it lasts. */
#pragma once

struct buf;
struct health;
struct server;

/* With everything else running. */
struct health *health_start(struct server *srv);
/* Nothing is watched any more: before anything of the server goes. What it has seen can still be read. */
void health_stop(struct health *h);
/* When nobody reads it any more. NULL is fine. */
void health_destroy(struct health **h);
/* The section of INFO. Any thread. */
void health_info(struct health *h, struct buf *out);
/* Calls fn for each alarm that lasts, with its name and what it means. NULL has none. Any thread. */
void health_alarms(struct health *h, void (*fn)(void *ctx, const char *name, const char *doc), void *ctx);
/* Calls row for each row of health.def, for --print. */
void health_rows(void (*row)(void *ctx, const char *name, const char *doc), void *ctx);
