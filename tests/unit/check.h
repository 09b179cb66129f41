/* SPDX-License-Identifier: BSD-3-Clause */
/* check: what every unit test includes. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "src/base/slice.h"

#define assert_slice(s, text)                                                                      \
    do {                                                                                           \
        struct slice got_ = (s);                                                                   \
        assert_int_equal(got_.n, strlen(text));                                                    \
        assert_memory_equal(got_.p, text, got_.n);                                                 \
    } while (0)
