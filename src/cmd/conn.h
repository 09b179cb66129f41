/* SPDX-License-Identifier: BSD-3-Clause */
/* conn: what the connection family shares between its files. */
#pragma once

#include <stdbool.h>

#include "src/base/slice.h"

#include "src/cmd/cmd.h"

/* The version clients are told: the one whose commands and texts we follow. */
#define REDIS_VERSION "7.2.4"

/* Printable and without spaces: client names and library names. */
bool client_text_valid(struct slice s);

extern const struct command client_subs[]; /* client.c */
