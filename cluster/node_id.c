/* SPDX-License-Identifier: BSD-3-Clause */
/* node_id: the name a node keeps for life, and its lot, each in a file. */
#include "cluster/node_id.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cluster/ring.h"
#include "src/base/buf.h"
#include "src/base/rng.h"

static bool refuse(struct buf *err, const char *path, const char *reason) {
    buf_printf(err, "%s: %s", path, reason);
    return false;
}

static bool is_hex(const char *p) {
    return strspn(p, "0123456789abcdef") == NODE_ID_HEX;
}

static bool read_id(int fd, const char *path, char *id, struct buf *err) {
    char text[NODE_ID_HEX + 2] = "";
    ssize_t n = read(fd, text, sizeof(text) - 1);
    if (n < 0) {
        return refuse(err, path, strerrordesc_np(errno));
    }
    text[n] = '\0';
    if (!is_hex(text) || strcmp(text + NODE_ID_HEX, "\n") != 0) {
        return refuse(err, path, "not 40 hexadecimal digits and a line's end; without the file this is a new node");
    }
    memcpy(id, text, NODE_ID_HEX);
    id[NODE_ID_HEX] = '\0';
    return true;
}

/* Whole or not at all: written beside it, then renamed. */
static bool write_text(const char *path, const char *text, struct buf *err) {
    char beside[4096];
    ssize_t n = (ssize_t)strlen(text);
    snprintf(beside, sizeof(beside), "%s.new", path);
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    bool ok = fd >= 0 && write(fd, text, (size_t)n) == n && fsync(fd) == 0;
    ok = (fd < 0 || close(fd) == 0) && ok && rename(beside, path) == 0;
    int dir = ok ? open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    ok = ok && (dir < 0 || fsync(dir) == 0);
    int code = errno;
    if (dir >= 0) {
        close(dir);
    }
    return ok || refuse(err, path, strerrordesc_np(code));
}

bool node_id_load(const char *path, char *id, struct buf *err) {
    char text[NODE_ID_HEX + 2];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        bool ok = read_id(fd, path, id, err);
        close(fd);
        return ok;
    }
    if (errno != ENOENT) {
        return refuse(err, path, strerrordesc_np(errno));
    }
    unsigned char raw[NODE_ID_HEX / 2];
    rng_system(raw, sizeof(raw));
    for (size_t i = 0; i < sizeof(raw); i++) {
        snprintf(id + 2 * i, 3, "%02x", raw[i]);
    }
    snprintf(text, sizeof(text), "%s\n", id);
    return write_text(path, text, err);
}

bool node_lot_load(const char *path, const char *id, int *lot, struct buf *err) {
    char text[128] = "", *end = text;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    *lot = -1;
    if (fd < 0) {
        return errno == ENOENT || refuse(err, path, strerrordesc_np(errno));
    }
    ssize_t n = read(fd, text, sizeof(text) - 1);
    int code = errno;
    close(fd);
    if (n < 0) {
        return refuse(err, path, strerrordesc_np(code));
    }
    unsigned long number = is_hex(text) && text[NODE_ID_HEX] == ' ' ? strtoul(text + NODE_ID_HEX + 1, &end, 10) : RING_LOTS;
    if (number >= RING_LOTS || strcmp(end, "\n") != 0) {
        return refuse(err, path, "not a node's id, a number below 64 and a line's end; without the file a node's slots are others than before");
    }
    *lot = memcmp(text, id, NODE_ID_HEX) == 0 ? (int)number : -1;
    return true;
}

bool node_lot_keep(const char *path, const char *id, unsigned lot, struct buf *err) {
    char text[128];
    snprintf(text, sizeof(text), "%s %u\n", id, lot);
    return write_text(path, text, err);
}
