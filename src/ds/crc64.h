/* SPDX-License-Identifier: BSD-3-Clause */
/* crc64: Jones's polynomial, reflected, as in RDB files and DUMP payloads. */
#pragma once

#include <stddef.h>
#include <stdint.h>

uint64_t crc64(uint64_t crc, const void *p, size_t n);
