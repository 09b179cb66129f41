/* SPDX-License-Identifier: BSD-3-Clause */
/* page: the document that / answers, made from src/page when the program is built. */
#pragma once

#include <stddef.h>

extern const unsigned char page_bytes[];
extern const size_t page_size;
