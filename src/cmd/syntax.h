/* SPDX-License-Identifier: BSD-3-Clause */
/* syntax: the argument tree of COMMAND DOCS out of a row's syntax text. */
#pragma once

struct out;

/* Replies with the array of arguments that the text describes: words in capitals are tokens, lower case names are arguments,
 * [x] optional, x | y a choice, [x ...] repeated. */
void syntax_reply(struct out *o, const char *syntax);
