/* SPDX-License-Identifier: BSD-3-Clause */
/* dir_file: files that a client names. It may name those under `dir`, which is the working directory, and no others. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Opens a regular file for reading: a file descriptor and its size. -1 with why (static text) when there is none, or it lies, or a
 * link on the way leads, elsewhere. anywhere: it may. May block. */
int dir_file_open(const char *path, bool anywhere, uint64_t *size, const char **why);
/* Makes a new file for writing, for its owner alone: a file descriptor, or -1 with why, as when there is one already. */
int dir_file_create(const char *path, const char **why);
