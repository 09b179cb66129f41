/* SPDX-License-Identifier: BSD-3-Clause */
/* fake_server: a server of RESP on a thread of its own, whose answers a function of the test gives. */
#pragma once

#include <stdbool.h>

#include "src/base/buf.h"

struct fake_server;

/* Appends the reply to one command, any bytes; none: no answer. False: the connection is closed behind it. On the server's
 * thread. */
typedef bool (*fake_answer)(void *ctx, int argc, const struct slice *argv, struct buf *reply);

/* On a free port of 127.0.0.1, or on a unix socket at path. */
struct fake_server *fake_server_start(const char *path, fake_answer answer, void *ctx);
int fake_server_port(const struct fake_server *f);
/* Connections accepted, commands read so far. Any thread. */
int fake_server_connections(const struct fake_server *f);
int fake_server_commands(const struct fake_server *f);
/* Closes every connection and goes on. */
void fake_server_hang_up(struct fake_server *f);
/* Ends the thread; nobody listens any more. */
void fake_server_stop(struct fake_server **f);
/* Whether argv[0] is the word. */
bool fake_is(const struct slice *argv, const char *word);
