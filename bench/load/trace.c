/* SPDX-License-Identifier: BSD-3-Clause */
/* trace: a recorded sequence of requests. */
#include "bench/load/trace.h"

#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xxhash.h>

#include "bench/load/sock.h"
#include "src/base/mem.h"

enum { RECORD_SIZE = 12, CHUNK_RECORDS = 8192 };

/* The first record of each key, found by the key. */
struct first_sight {
    uint32_t *slots; /* index of the record + 1 */
    uint64_t size;   /* a power of two */
};

/* The reading end of the file, unpacked by gzip when its name ends in .gz. */
static int trace_open(const char *path, pid_t *gzip) {
    *gzip = -1;
    size_t n = strlen(path);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        die("cannot read %s", path);
    }
    if (n < 3 || strcmp(path + n - 3, ".gz") != 0) {
        return file;
    }
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0 || (*gzip = fork()) < 0) {
        die("cannot start gzip");
    }
    if (*gzip == 0) {
        dup2(file, 0);
        dup2(ends[1], 1);
        execlp("gzip", "gzip", "-dc", (char *)NULL);
        _exit(127);
    }
    close(file);
    close(ends[1]);
    return ends[0];
}

static size_t read_full(int fd, char *p, size_t n) {
    size_t got = 0;
    while (got < n) {
        ssize_t m = read(fd, p + got, n - got);
        if (m <= 0) {
            break;
        }
        got += (size_t)m;
    }
    return got;
}

static void sight_grow(struct first_sight *sight, const struct trace *t) {
    uint64_t size = sight->size == 0 ? 1 << 16 : sight->size * 2;
    uint32_t *slots = mem_zalloc(size * sizeof(*slots));
    for (uint64_t i = 0; i < sight->size; i++) {
        if (sight->slots[i] != 0) {
            uint64_t key = t->records[sight->slots[i] - 1].key;
            uint64_t at = XXH64(&key, sizeof(key), 1) & (size - 1);
            while (slots[at] != 0) {
                at = (at + 1) & (size - 1);
            }
            slots[at] = sight->slots[i];
        }
    }
    mem_free(sight->slots);
    *sight = (struct first_sight){slots, size};
}

/* The key's first record, or NULL after noting that record n is it. */
static const struct trace_record *sight_find(struct first_sight *sight, const struct trace *t, uint64_t key, uint64_t n) {
    if ((uint64_t)t->keys * 2 >= sight->size) {
        sight_grow(sight, t);
    }
    uint64_t at = XXH64(&key, sizeof(key), 1) & (sight->size - 1);
    while (sight->slots[at] != 0) {
        const struct trace_record *record = &t->records[sight->slots[at] - 1];
        if (record->key == key) {
            return record;
        }
        at = (at + 1) & (sight->size - 1);
    }
    sight->slots[at] = (uint32_t)n + 1;
    return NULL;
}

static uint32_t length_of(uint64_t key, uint32_t size, uint32_t fixed_length) {
    if (size != 1) {
        return size;
    }
    return fixed_length > 0 ? fixed_length : (uint32_t)32 << (XXH64(&key, sizeof(key), 0) % 6);
}

static void record_add(struct trace *t, struct first_sight *sight, const char *p, uint32_t fixed_length) {
    struct trace_record *record = &t->records[t->n];
    uint32_t size;
    memcpy(&record->key, p, 8);
    memcpy(&size, p + 8, 4);
    const struct trace_record *first = sight_find(sight, t, record->key, t->n);
    if (first != NULL) {
        record->length = first->length;
        record->id = first->id;
    } else {
        record->length = length_of(record->key, size, fixed_length);
        record->id = t->keys++;
        t->value_bytes += record->length;
        t->sized |= size != 1;
    }
    t->read_mean += record->length;
    t->n++;
}

void trace_read(struct trace *t, const char *path, uint64_t limit, uint32_t fixed_length) {
    *t = (struct trace){0};
    struct first_sight sight = {0};
    char *chunk = mem_alloc(CHUNK_RECORDS * RECORD_SIZE);
    uint64_t room = 0;
    pid_t gzip;
    int fd = trace_open(path, &gzip);
    size_t got;
    while ((got = read_full(fd, chunk, CHUNK_RECORDS * RECORD_SIZE)) > 0) {
        if (got % RECORD_SIZE != 0 || t->n + CHUNK_RECORDS > UINT32_MAX) {
            die("%s is not a trace of 12-byte records, or longer than 2^32 of them", path);
        }
        if (room < t->n + CHUNK_RECORDS) {
            room = room * 2 + CHUNK_RECORDS;
            t->records = mem_realloc(t->records, room * sizeof(*t->records));
        }
        for (size_t at = 0; at < got && (limit == 0 || t->n < limit); at += RECORD_SIZE) {
            record_add(t, &sight, chunk + at, fixed_length);
        }
        if (limit > 0 && t->n >= limit) {
            break;
        }
    }
    close(fd);
    int status = 0;
    if (gzip > 0 && waitpid(gzip, &status, 0) == gzip && status != 0 && (limit == 0 || t->n < limit)) {
        die("gzip could not unpack %s", path);
    }
    mem_free(chunk);
    mem_free(sight.slots);
    if (t->n == 0) {
        die("%s holds no records", path);
    }
    t->read_mean /= (double)t->n;
}

void trace_free(struct trace *t) {
    mem_free(t->records);
    *t = (struct trace){0};
}
