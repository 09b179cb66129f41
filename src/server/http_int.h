/* SPDX-License-Identifier: BSD-3-Clause */
/* http_int: what http.c, which has the connections, asks of http_reply.c, which answers requests. */
#pragma once

#include <microhttpd.h>
#include <stdbool.h>

#include "src/base/buf.h"

struct server;

/* What replies are made of. HTTP thread only, but for create and destroy. */
struct http_reply {
    struct server *srv;
    struct buf csp;     /* the header's value, ended by a zero: allows the page its own script and style, and nothing else */
    struct buf etag;    /* of the page, ended by a zero */
    struct buf zipped;  /* the page, compressed */
    bool loopback_only; /* reached from this machine alone: then a foreign Host is refused */
};

void http_reply_init(struct http_reply *r, struct server *srv);
void http_reply_fini(struct http_reply *r);
/* False when the head alone is to be answered: what comes behind it closes the connection. */
bool http_reply_wants_rest(struct MHD_Connection *to, const char *method);
/* Answers one request whose head has been read. MHD_NO: the connection is to be closed. */
enum MHD_Result http_reply_to(struct http_reply *r, struct MHD_Connection *to, const char *path, const char *method);
