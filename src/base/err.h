/* SPDX-License-Identifier: BSD-3-Clause */
/* err: what can go wrong, one row each in errors.def: name and the exact text a client reads. */
#pragma once

enum err {
    OK = 0,
#define ERR(name, text) ERR_##name,
#include "src/base/errors.def"
#undef ERR
    ERR_COUNT
};

/* The text on the wire, without the leading '-' and the closing CRLF. "" for OK. */
const char *err_text(enum err e);
/* The row's name, for docs. */
const char *err_name(enum err e);
