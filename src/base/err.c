/* SPDX-License-Identifier: BSD-3-Clause */
/* err: the rows of errors.def as arrays. */
#include "src/base/err.h"

#include "src/base/check.h"

static const char *const texts[] = {
    "",
#define ERR(name, text) text,
#include "src/base/errors.def"
#undef ERR
};

static const char *const names[] = {
    "OK",
#define ERR(name, text) #name,
#include "src/base/errors.def"
#undef ERR
};

const char *err_text(enum err e) {
    ASSERT(e < ERR_COUNT);
    return texts[e];
}

const char *err_name(enum err e) {
    ASSERT(e < ERR_COUNT);
    return names[e];
}
