/* SPDX-License-Identifier: BSD-3-Clause */
/* standin: no origins yet. */
#include "src/origin/origin.h"
bool origin_check(struct slice line, struct buf *why) { (void)line; buf_puts(why, "no origins yet"); return false; }
bool origin_named(const char *lines, struct slice name) { (void)lines; (void)name; return false; }
struct origin *origins_find(struct origins *o, struct slice name) { (void)o; (void)name; return NULL; }
void origin_submit(struct origin *o, struct request *r) { (void)o; (void)r; }
void origins_info(struct origins *o, struct buf *out) { (void)o; (void)out; }
