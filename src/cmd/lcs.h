/* SPDX-License-Identifier: BSD-3-Clause */
/* lcs: the LCS command, apart from its family for its size. */
#pragma once

#include "src/base/err.h"

struct call;
enum err lcs_run(struct call *c);
