/* SPDX-License-Identifier: BSD-3-Clause */
/* observe: container commands of the server family that look at the server: SLOWLOG, LATENCY, MEMORY. */
#pragma once

#include "src/cmd/cmd.h"
extern const struct command slowlog_subs[], latency_subs[], memory_subs[];
