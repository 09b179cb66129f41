/* SPDX-License-Identifier: BSD-3-Clause */
/* node_id: the name a node keeps for life, its lot, and the nodes it knows, each in a file. */
#include "cluster/node_id.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cluster/members_wire.h"
#include "cluster/node_addr.h"
#include "cluster/ring.h"
#include "src/base/buf.h"
#include "src/base/mem.h"
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

/* ---- the other nodes: a line for each, behind a head with the format and whose they are ---- */

enum { PEERS_FORMAT = 1 };

static bool read_peer(char *line, struct member_record *r) {
    unsigned long weight, lot;
    unsigned long long incarnation;
    int at = 0;
    struct buf why = {0};
    *r = (struct member_record){.intent = INTENT_MEMBER, .verdict = VERDICT_ALIVE};
    bool ok = is_hex(line) && sscanf(line + NODE_ID_HEX, " %llu %lu %lu %n", &incarnation, &weight, &lot, &at) == 3 && at > 0 &&
              weight <= RING_MAX_WEIGHT && lot < RING_LOTS && node_addr_parse(slice_cstr(line + NODE_ID_HEX + at), &r->addr, &why);
    buf_free(&why);
    if (ok) {
        memcpy(r->id, line, NODE_ID_HEX);
        r->weight = (uint16_t)weight;
        r->lot = (uint16_t)lot;
        r->incarnation = incarnation;
    }
    return ok;
}

static int read_peers(FILE *f, const char *id, struct member_record *list) {
    char line[NODE_HOST_BYTES + 128], owner[NODE_ID_HEX + 2];
    int format = 0, n = 0;
    if (fgets(line, sizeof(line), f) == NULL || sscanf(line, "strata peers %d %41s", &format, owner) != 2 || format != PEERS_FORMAT) {
        return -1;
    }
    while (fgets(line, sizeof(line), f) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (n == RING_MAX_NODES || !read_peer(line, &list[n++])) {
            return -1;
        }
    }
    return strcmp(owner, id) == 0 ? n : 0;
}

int node_peers_load(const char *path, const char *id, struct member_record **list, struct buf *err) {
    FILE *f = fopen(path, "re");
    *list = NULL;
    if (f == NULL) {
        return errno == ENOENT || refuse(err, path, strerrordesc_np(errno)) ? 0 : -1;
    }
    *list = mem_alloc(RING_MAX_NODES * sizeof(**list));
    int n = read_peers(f, id, *list);
    fclose(f);
    if (n <= 0) {
        mem_free(*list);
        *list = NULL;
    }
    if (n < 0) {
        refuse(err, path, "not a list of nodes of this version; without the file this node does not know the others until it meets one");
    }
    return n;
}

bool node_peers_keep(const char *path, const char *id, const struct member_record *list, unsigned n, struct buf *err) {
    struct buf text = {0};
    buf_printf(&text, "strata peers %d %s\n", PEERS_FORMAT, id);
    for (unsigned i = 0; i < n; i++) {
        buf_printf(&text, "%s %llu %u %u ", list[i].id, (unsigned long long)list[i].incarnation, list[i].weight, list[i].lot);
        node_addr_print(&list[i].addr, &text);
        buf_putc(&text, '\n');
    }
    buf_putc(&text, '\0');
    bool ok = write_text(path, text.p, err);
    buf_free(&text);
    return ok;
}

bool node_lot_keep(const char *path, const char *id, unsigned lot, struct buf *err) {
    char text[128];
    snprintf(text, sizeof(text), "%s %u\n", id, lot);
    return write_text(path, text, err);
}
