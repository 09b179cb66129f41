/* SPDX-License-Identifier: BSD-3-Clause */
/* listener: accepts connections on one loop and hands the sockets out. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct loop;
struct listener;

/* Called on the listener's loop with a connected, non-blocking, close-on-exec socket, which the callee owns. */
typedef void (*listener_accept_fn)(void *ctx, int fd, bool is_unix);

/* Listens on a numeric or "localhost"-style name resolved without DNS ("*" all IPv4, "::*" all IPv6, "::1", "-addr"
 * optional address as in redis.conf: absence is no error). Port 0 picks a free one (listener_port tells).
 * NULL on failure with the reason in err. */
struct listener *listener_tcp(struct loop *loop, const char *addr, int port, int backlog,
                              listener_accept_fn fn, void *ctx, char *err, size_t errlen);
/* Only the listening socket, for those who accept by themselves; the caller closes it. Addresses as above. -1 with the reason
 * in err. */
int listener_open_tcp(const char *addr, int port, int backlog, int *real_port, char *err, size_t errlen);
/* Unix socket with permission bits set before anybody can connect (umask; 0: leave). Removes a stale socket file,
 * refuses a live one. The file is unlinked by listener_close. */
struct listener *listener_unix(struct loop *loop, const char *path, unsigned perm, int backlog,
                               listener_accept_fn fn, void *ctx, char *err, size_t errlen);
int listener_port(const struct listener *l);
/* Stops accepting; frees itself once the loop has run its close callbacks. */
void listener_close(struct listener **l);
/* Out of file descriptors: the listener pauses accept for 100 ms instead of spinning; times so far. */
unsigned long listener_pauses(const struct listener *l);
