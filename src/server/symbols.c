/* SPDX-License-Identifier: BSD-3-Clause */
/* symbols: an ELF file's table of functions, sorted. */
#include "src/server/symbols.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/buf.h"
#include "src/base/mem.h"

struct function {
    uintptr_t at, size; /* as linked */
    const char *name;   /* in the file */
};

struct symbols {
    const unsigned char *file; /* mapped; NULL: could not be */
    size_t file_n;
    uintptr_t bias; /* of the executable: loaded at minus linked at */
    struct function *functions;
    size_t n;
};

static int by_address(const void *a, const void *b) {
    uintptr_t x = ((const struct function *)a)->at, y = ((const struct function *)b)->at;
    return x < y ? -1 : x > y;
}

static int first_object(struct dl_phdr_info *info, size_t size, void *bias) {
    (void)size;
    *(uintptr_t *)bias = info->dlpi_addr;
    return 1; /* the executable comes first */
}

static bool within(const struct symbols *s, uint64_t at, uint64_t n) {
    return at <= s->file_n && n <= s->file_n - at;
}

/* Takes the functions of one table. */
static void take_table(struct symbols *s, const ElfW(Shdr) *table, const ElfW(Shdr) *strings) {
    if (!within(s, table->sh_offset, table->sh_size) || !within(s, strings->sh_offset, strings->sh_size) || strings->sh_size == 0) {
        return;
    }
    const char *names = (const char *)s->file + strings->sh_offset;
    size_t count = table->sh_size / sizeof(ElfW(Sym));
    s->functions = mem_alloc(count * sizeof(*s->functions));
    for (size_t i = 0; i < count; i++) {
        ElfW(Sym) sym;
        memcpy(&sym, s->file + table->sh_offset + i * sizeof(sym), sizeof(sym));
        if (ELF64_ST_TYPE(sym.st_info) == STT_FUNC && sym.st_value != 0 && sym.st_name < strings->sh_size) {
            s->functions[s->n++] = (struct function){sym.st_value, sym.st_size, names + sym.st_name};
        }
    }
    if (names[strings->sh_size - 1] != '\0') {
        s->n = 0; /* not a table of names */
    }
    qsort(s->functions, s->n, sizeof(*s->functions), by_address);
}

static void read_tables(struct symbols *s) {
    ElfW(Ehdr) head;
    if (!within(s, 0, sizeof(head))) {
        return;
    }
    memcpy(&head, s->file, sizeof(head));
    if (memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 || head.e_shentsize != sizeof(ElfW(Shdr)) ||
        !within(s, head.e_shoff, (uint64_t)head.e_shnum * sizeof(ElfW(Shdr)))) {
        return;
    }
    for (unsigned i = 0; i < head.e_shnum && s->functions == NULL; i++) {
        ElfW(Shdr) table, strings;
        memcpy(&table, s->file + head.e_shoff + i * sizeof(table), sizeof(table));
        if (table.sh_type == SHT_SYMTAB && table.sh_link < head.e_shnum) {
            memcpy(&strings, s->file + head.e_shoff + table.sh_link * sizeof(strings), sizeof(strings));
            take_table(s, &table, &strings);
        }
    }
}

struct symbols *symbols_open(void) {
    struct symbols *s = mem_zalloc(sizeof(*s));
    struct stat st;
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    dl_iterate_phdr(first_object, &s->bias);
    if (fd < 0) {
        return s;
    }
    if (fstat(fd, &st) == 0 && st.st_size > 0) {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p != MAP_FAILED) {
            s->file = p;
            s->file_n = (size_t)st.st_size;
            read_tables(s);
        }
    }
    close(fd);
    return s;
}

void symbols_close(struct symbols **s) {
    if ((*s)->file != NULL) {
        munmap((void *)(uintptr_t)(*s)->file, (*s)->file_n);
    }
    mem_free((*s)->functions);
    mem_free(*s);
    *s = NULL;
}

static const struct function *find(const struct symbols *s, uintptr_t at) {
    size_t lo = 0, hi = s->n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (s->functions[mid].at <= at) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    const struct function *f = lo > 0 ? &s->functions[lo - 1] : NULL;
    return f != NULL && at < f->at + (f->size > 0 ? f->size : 1) ? f : NULL;
}

void symbols_print(const struct symbols *s, uintptr_t addr, struct buf *out) {
    const struct function *f = find(s, addr - s->bias);
    Dl_info info = {0};
    if (f != NULL) {
        buf_puts(out, f->name);
    } else if (dladdr((void *)addr, &info) == 0 || info.dli_fname == NULL) {
        buf_printf(out, "0x%llx", (unsigned long long)addr);
    } else if (info.dli_sname != NULL) {
        buf_puts(out, info.dli_sname);
    } else {
        const char *file = strrchr(info.dli_fname, '/');
        buf_printf(out, "%s+0x%llx", file != NULL ? file + 1 : info.dli_fname, (unsigned long long)(addr - (uintptr_t)info.dli_fbase));
    }
}
