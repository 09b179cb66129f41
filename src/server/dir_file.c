/* SPDX-License-Identifier: BSD-3-Clause */
/* dir_file: the path is resolved first, links and all, and compared with the working directory's. */
#include "src/server/dir_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *reason(int code) {
    const char *text = strerrordesc_np(code);
    return text != NULL ? text : "cannot be opened";
}

static bool is_under(const char *path, const char *dir) {
    size_t n = strlen(dir);
    return strncmp(path, dir, n) == 0 && (path[n] == '/' || dir[n - 1] == '/');
}

int dir_file_open(const char *path, bool anywhere, uint64_t *size, const char **why) {
    char real[PATH_MAX], dir[PATH_MAX];
    struct stat st;
    if (path[0] == '/' && !anywhere) {
        *why = "the path is relative to `dir`";
        return -1;
    }
    if (realpath(path, real) == NULL || realpath(".", dir) == NULL) {
        *why = reason(errno);
        return -1;
    }
    if (!anywhere && !is_under(real, dir)) {
        *why = "the file is not under `dir`";
        return -1;
    }
    int fd = open(real, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe would wait for its writer */
    if (fd < 0) {
        *why = reason(errno);
        return -1;
    }
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        *why = "not a regular file";
        close(fd);
        return -1;
    }
    *size = (uint64_t)st.st_size;
    return fd;
}

int dir_file_create(const char *path, const char **why) {
    char folder[PATH_MAX], real[PATH_MAX], dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t n = slash != NULL ? (size_t)(slash - path) : 0;
    if (path[0] == '/' || n >= sizeof(folder)) {
        *why = "the path is relative to `dir`";
        return -1;
    }
    memcpy(folder, n > 0 ? path : ".", n > 0 ? n : 1);
    folder[n > 0 ? n : 1] = '\0';
    if (realpath(folder, real) == NULL || realpath(".", dir) == NULL) {
        *why = reason(errno);
        return -1;
    }
    if (strcmp(real, dir) != 0 && !is_under(real, dir)) {
        *why = "the file is not under `dir`";
        return -1;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        *why = reason(errno);
    }
    return fd;
}
