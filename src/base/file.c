/* SPDX-License-Identifier: BSD-3-Clause */
/* file: a folder is synced like a file. */
#include "src/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

bool file_sync_folder(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    bool ok = fsync(fd) == 0;
    int code = errno;
    close(fd);
    errno = code;
    return ok;
}
