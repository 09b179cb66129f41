/* SPDX-License-Identifier: BSD-3-Clause */
/* sock: addresses and sockets of the generator. It speaks to this machine alone: loopback or unix. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

struct address {
    struct sockaddr_storage name;
    socklen_t len;
};

/* Reads "/path" as a unix socket and "port", "127.x.y.z:port" or "[::1]:port" as TCP. False when it
 * is none of these or not loopback. */
bool address_parse(struct address *a, const char *text);

/* A connected non-blocking socket with TCP_NODELAY; ends the process when nobody answers. */
int sock_connect(const struct address *a);

/* send and recv that retry EINTR; 0 for "not now", -1 when the connection is gone. */
ssize_t sock_send(int fd, const void *p, size_t n);
ssize_t sock_recv(int fd, void *p, size_t n);

/* Nanoseconds of a clock that never steps. */
uint64_t sock_now(void);

/* Prints to standard error and ends the process with status 1. */
void die(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));
