/* SPDX-License-Identifier: BSD-3-Clause */
/* cache: the subcommands of CACHE that have files of their own. */
#pragma once

#include "src/base/err.h"

struct call;

/* cache_explain.c */
enum err cache_explain_run(struct call *c);
/* cache_stats.c */
enum err cache_stats_run(struct call *c);
enum err cache_export_run(struct call *c);
