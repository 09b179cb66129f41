/* SPDX-License-Identifier: BSD-3-Clause */
/* hash: handlers of the hash family that live in hash_walk.c. */
#pragma once

#include "src/base/err.h"

struct call;
enum err hrandfield_run(struct call *c);
enum err hscan_run(struct call *c);
