/* SPDX-License-Identifier: BSD-3-Clause */
/* symbols: names of code addresses of this process: from the executable's own symbol table, where it was not stripped, else from what
 * the dynamic loader knows; else file and offset, for addr2line. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct symbols;

/* Reads the executable. Always succeeds; with less to say when that cannot be read. */
struct symbols *symbols_open(void);
void symbols_close(struct symbols **s);
/* Appends the name of what is at addr. */
void symbols_print(const struct symbols *s, uintptr_t addr, struct buf *out);
