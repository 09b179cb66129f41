/* SPDX-License-Identifier: BSD-3-Clause */
/* hiredis_client: a short session through hiredis: set, get, a pipeline, a hash, an error. Exit code 0 when all is as expected. */
#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

static int is(redisReply *r, int type, const char *text) {
    int same = r != NULL && r->type == type && (text == NULL || strcmp(r->str, text) == 0);
    freeReplyObject(r);
    return same;
}

int main(int argc, char **argv) {
    redisContext *c = argc > 1 ? redisConnectUnix(argv[1]) : NULL;
    int ok = c != NULL && !c->err;
    ok = ok && is(redisCommand(c, "SET %s %b", "k", "v\0w", (size_t)3), REDIS_REPLY_STATUS, "OK");
    redisReply *r = ok ? redisCommand(c, "GET k") : NULL;
    ok = r != NULL && r->type == REDIS_REPLY_STRING && r->len == 3 && memcmp(r->str, "v\0w", 3) == 0;
    freeReplyObject(r);
    for (int i = 0; ok && i < 1000; i++) {
        redisAppendCommand(c, "INCR n");
    }
    for (int i = 1; ok && i <= 1000; i++) {
        void *reply = NULL;
        ok = redisGetReply(c, &reply) == REDIS_OK && ((redisReply *)reply)->integer == i;
        freeReplyObject(reply);
    }
    ok = ok && is(redisCommand(c, "HSET h f 1 g 2"), REDIS_REPLY_INTEGER, NULL);
    ok = ok && is(redisCommand(c, "NOSUCH"), REDIS_REPLY_ERROR, NULL);
    redisFree(c);
    return ok ? 0 : 1;
}
