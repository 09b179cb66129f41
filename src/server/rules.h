/* SPDX-License-Identifier: BSD-3-Clause */
/* rules: policies and origins of the configuration, checked when it is read and put in force when it has changed. */
#pragma once

#include "src/conf/conf.h"

struct buf;
struct server;

/* Checks lines of `policy` and `origin`, and that every origin a policy names exists. */
extern const struct conf_hooks rules_hooks;

/* The policies as the current configuration says; workers see them from their next turn after conf_version was raised. Any
 * thread. */
void rules_apply(struct server *srv);
/* Fetches the filters that policies name from the disk, of database 0, in the background: until then they exclude nothing. When the
 * workers run. */
void rules_fetch_filters(struct server *srv);
/* The section Guards of INFO. Any thread. */
void rules_info(struct server *srv, struct buf *out);
