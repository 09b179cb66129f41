/* SPDX-License-Identifier: BSD-3-Clause */
/* blob: strings too large for an item, counted by who refers to them. */
#include "src/base/mem.h"
#include "src/l1/shard.h"

struct blob *blob_ref(struct blob *b) {
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

void blob_unref(struct blob *b) {
    if (atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1) {
        mem_free(b->memory);
        mem_free(b);
    }
}

struct blob *blob_create(size_t n) {
    struct blob *b = mem_try_alloc(sizeof(*b) + n);
    if (b != NULL) {
        *b = (struct blob){.refs = 1, .n = n, .size = n, .bytes = (char *)(b + 1)};
    }
    return b;
}

struct blob *blob_adopt(void *memory, size_t size, struct slice bytes) {
    struct blob *b = mem_try_alloc(sizeof(*b));
    if (b != NULL) {
        *b = (struct blob){
            .refs = 1, .n = bytes.n, .size = size, .bytes = (char *)(uintptr_t)bytes.p, .memory = memory};
    }
    return b;
}
