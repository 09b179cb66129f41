/* SPDX-License-Identifier: BSD-3-Clause */
/* key: handlers of the key family that live in files of their own. */
#pragma once

#include "src/base/err.h"

struct call;

/* expire.c */
enum err expire_run(struct call *c);
enum err expireat_run(struct call *c);
enum err expiretime_run(struct call *c);
enum err persist_run(struct call *c);
enum err pexpire_run(struct call *c);
enum err pexpireat_run(struct call *c);
enum err pexpiretime_run(struct call *c);
enum err pttl_run(struct call *c);
enum err ttl_run(struct call *c);

/* scan.c */
enum err keys_run(struct call *c);
enum err randomkey_run(struct call *c);
enum err scan_run(struct call *c);
/* SCAN's and HSCAN's cursor argument; ERR_REPLIED "invalid cursor". */
enum err arg_cursor(struct call *c, int i, unsigned long *cursor);

/* dump.c */
enum err dump_run(struct call *c);
enum err restore_run(struct call *c);
