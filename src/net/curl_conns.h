/* SPDX-License-Identifier: BSD-3-Clause */
/* curl_conns: counts the connections that libcurl makes and keeps for one multi or easy handle. Belongs to the thread of that handle.
 *
 * libcurl 7.88 closes a socket on which it gave up connecting without a word. So a connection counts from its first request on, by its
 * local port, and only then is it missed when its socket is closed. */
#pragma once

#include <curl/curl.h>
#include <stdbool.h>
#include <stdint.h>

struct conns;

/* Of one handle's cache of connections; lives until that is cleaned up. */
struct curl_conns {
    struct conns *counts;
    uint64_t open, busy;       /* connections; transfers that have one */
    uint64_t ports[65536 / 64]; /* a bit for the local port of each connection */
};

/* Of one transfer, where its easy handle is. */
struct curl_transfer {
    struct curl_conns *conns;
    CURL *easy;
    long connects;  /* connections that were made for it */
    bool connected; /* it has one, or had */
};

/* The transfers of t->easy are counted from now on; after each curl_easy_reset. t is filled in, and stays where it is as long as easy. */
void curl_conns_watch(struct curl_transfer *t, struct curl_conns *conns, CURL *easy);
/* Before a transfer. */
void curl_conns_begin(struct curl_transfer *t);
/* After it, however it ended: one that never had a connection counts as failed. */
void curl_conns_end(struct curl_transfer *t);
