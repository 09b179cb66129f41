/* SPDX-License-Identifier: BSD-3-Clause */
/* file: what lasting files need beside their own sync. */
#pragma once

#include <stdbool.h>

/* Makes lasting which names the folder has: a file that was made, renamed or removed is so only after this. False with errno. May block. */
bool file_sync_folder(const char *path);
