/* SPDX-License-Identifier: BSD-3-Clause */
/* boot: a server from its configuration, and back. */
#pragma once

struct conf_store;

/* Runs until an orderly stop; returns the exit code. Takes the store. */
int server_run(struct conf_store *store, const char *executable);
