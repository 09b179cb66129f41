/* SPDX-License-Identifier: BSD-3-Clause */
/* poll: tells when a socket that somebody else owns (a library's) can be read or written. For its loop's thread only. */
#pragma once

struct loop;
struct poll;

enum { POLL_READ = 1, POLL_WRITE = 2 };

/* Watches fd for nothing yet. fn is told POLL_READ, POLL_WRITE or both; what is wrong with the socket is told as both, and the
 * owner's next call on it says what. fn may destroy the poll. NULL when the system cannot watch such an fd. */
struct poll *poll_create(struct loop *loop, int fd, void (*fn)(void *ctx, int fd, unsigned events), void *ctx);
/* What to watch for from now on; 0 for nothing. */
void poll_watch(struct poll *p, unsigned events);
/* Before fd is closed, which is its owner's. No call of fn comes after it; the memory goes when the loop has let go. */
void poll_destroy(struct poll **p);
