/* SPDX-License-Identifier: BSD-3-Clause */
/* glob: Redis's pattern language (KEYS, SCAN MATCH, CONFIG GET). */
#pragma once

#include <stdbool.h>

#include "src/base/slice.h"

/* Whether s matches pattern: * ? [a-z] [^x] \escape. Time is bounded by the product of the lengths, stack use
 * is constant (CVE-2022-36021, CVE-2024-31228 are the traps). nocase folds ASCII letters. */
bool glob_match(struct slice pattern, struct slice s, bool nocase);
