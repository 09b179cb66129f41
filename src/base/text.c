/* SPDX-License-Identifier: BSD-3-Clause */
/* text: segments that nobody may write to, so that the file still has every byte of them. */
#include "src/base/text.h"

#include <link.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

static int let_go(struct dl_phdr_info *info, size_t size, void *ctx) {
    (void)size;
    const uintptr_t page = *(const uintptr_t *)ctx;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        if (p->p_type != PT_LOAD || p->p_flags & PF_W) {
            continue; /* relocated data lies in a writable segment, though it may be protected by now */
        }
        uintptr_t from = (info->dlpi_addr + p->p_vaddr + page - 1) & ~(page - 1);
        uintptr_t to = (info->dlpi_addr + p->p_vaddr + p->p_memsz) & ~(page - 1);
        if (from < to) {
            madvise((void *)from, to - from, MADV_DONTNEED);
        }
    }
    return 0;
}

void text_let_go(void) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    dl_iterate_phdr(let_go, &page);
}
