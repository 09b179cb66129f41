/* SPDX-License-Identifier: BSD-3-Clause */
/* fake_http: an HTTP/1.1 server on a thread and a free port of its own, well-behaved or not as the last part of the path asks:
 *
 *   hello  empty  big         200 with a Content-Length; big: 300,000 bytes
 *   target-...                200, the body is the request target as it came
 *   header                    200, the body is the request's head
 *   missing  gone             404, 410
 *   status-N                  N with a short body
 *   once-N                    N, then (for that path) 200 "hello"
 *   broken                    503 while ->broken, else 200 "hello"
 *   gate-...                  200 "hello", once ->gate is open
 *   hang  hang-body           nothing; the head only
 *   reset  close              RST or FIN instead of a reply
 *   once-reset                RST, then 200
 *   half  half-chunked        a body cut off by FIN
 *   longer  longer-close      more bytes than the Content-Length says
 *   no-length                 a body ended by FIN
 *   chunked  chunked-trailer  200 in chunks
 *   huge  endless             a Content-Length of 2 GB; chunks without end
 *   lengths                   two Content-Lengths
 *   gzip  gzip-big  gzip-half  gzip-bomb  br
 *   garbage                   not HTTP
 *   to-N                      redirect to to-(N-1); to-0: 200 "hello"
 *   loop  to-ftp  to-...      redirects
 *   fresh                     200 with Cache-Control and Age
 *   post-N                    any method: status N
 * PUT and DELETE: 201 or 204 unless the path says otherwise; a body is kept in ->body. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "src/base/buf.h"

enum { FAKE_BIG = 300000 };

struct fake_http {
    int port;
    _Atomic int connections, requests; /* so far */
    _Atomic int held, most_held;       /* waiting at the gate */
    _Atomic bool broken, gate;
    /* the test's, when the server is idle */
    struct buf body;
    char method[16];
    /* the server's */
    pthread_t thread;
    int listener, wake[2];
    struct fake_conn *conns;
    int conn_count;
    char once[64][64];
    int once_count;
};

void fake_http_start(struct fake_http *f);
void fake_http_stop(struct fake_http *f);
void fake_http_open_gate(struct fake_http *f);
