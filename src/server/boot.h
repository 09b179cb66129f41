/* SPDX-License-Identifier: BSD-3-Clause */
/* boot: a server from its configuration, and back. */
#pragma once

struct conf_store;
struct server;

/* Runs until an orderly stop; returns the exit code. Takes the store. import: an absolute path or URL whose keys are taken in while it
 * serves, or NULL. */
int server_run(struct conf_store *store, const char *executable, const char *import);

/* The server's parts without listeners, signals and running threads: for tests, which run worker 0's loop themselves.
 * Takes the store. */
struct server *server_open(struct conf_store *store, const char *executable);
/* Every session must be closed. */
void server_close(struct server **srv);
