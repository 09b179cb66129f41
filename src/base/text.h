/* SPDX-License-Identifier: BSD-3-Clause */
/* text: the code and constants of program and libraries, as far as they are resident. */
#pragma once

/* Lets go of what starting has touched of them, some 10 MB that stay in the system's page cache: what is needed again comes back by minor
 * faults, and what is not no longer counts towards the process's resident size, and so maxmemory. Any thread; once, when all is up. */
void text_let_go(void);
