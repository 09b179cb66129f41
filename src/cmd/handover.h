/* SPDX-License-Identifier: BSD-3-Clause */
/* handover: CLUSTER TAKE and CLUSTER GIVE, by which nodes hand keys to each other. */
#pragma once

#include "src/base/err.h"

struct call;

enum err cluster_take_run(struct call *c);
enum err cluster_give_run(struct call *c);
