/* SPDX-License-Identifier: BSD-3-Clause */
/* conn: commands about the connection itself. CLIENT is in client.c. */
#include "src/cmd/call.h"
#include "src/cmd/conn.h"

static enum err ping_run(struct call *c) {
    if (c->argc > 2) {
        return call_arity_error(c);
    }
    if (c->argc == 2) {
        reply_bulk(c->out, c->argv[1]);
    } else {
        reply_status(c->out, "PONG");
    }
    return OK;
}

static enum err echo_run(struct call *c) {
    reply_bulk(c->out, c->argv[1]);
    return OK;
}

static enum err select_run(struct call *c) {
    int64_t db;
    if (!num_parse_i64(c->argv[1], &db)) {
        return ERR_NOT_INT;
    }
    if (db < 0 || db >= c->conf->databases) {
        return ERR_DB_INDEX;
    }
    atomic_store_explicit(&c->client->db, (uint8_t)db, memory_order_relaxed);
    reply_ok(c->out);
    return OK;
}

static enum err quit_run(struct call *c) {
    client_flag(c->client, CLIENT_CLOSE_AFTER_REPLY, true);
    reply_ok(c->out);
    return OK;
}

static enum err reset_run(struct call *c) {
    c->host->ops->reset(c);
    reply_status(c->out, "RESET");
    return OK;
}

/* ---- authentication ---- */

static bool authenticate(struct call *c, struct slice user, struct slice password) {
    if (!c->host->ops->check_password(c->host, user, password)) {
        STAT_ADD(c->stats->auth_failures, 1);
        return false;
    }
    c->client->authenticated = true;
    return true;
}

static enum err auth_run(struct call *c) {
    if (c->argc > 3) {
        return ERR_SYNTAX;
    }
    if (c->argc == 2 && c->conf->requirepass[0] == '\0') {
        return call_errorf(c, "ERR AUTH <password> called without any password configured for the default user. Are you "
                              "sure your configuration is correct?");
    }
    struct slice user = c->argc == 3 ? c->argv[1] : SLICE("default");
    if (!authenticate(c, user, c->argv[c->argc - 1])) {
        return ERR_WRONGPASS;
    }
    reply_ok(c->out);
    return OK;
}

/* ---- HELLO ---- */

bool client_text_valid(struct slice s) {
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '!' || s.p[i] > '~') {
            return false;
        }
    }
    return true;
}

static void reply_hello(struct call *c) {
    reply_map(c->out, 7);
    reply_bulk_cstr(c->out, "server");
    reply_bulk_cstr(c->out, "redis");
    reply_bulk_cstr(c->out, "version");
    reply_bulk_cstr(c->out, REDIS_VERSION);
    reply_bulk_cstr(c->out, "proto");
    reply_int(c->out, c->out->proto);
    reply_bulk_cstr(c->out, "id");
    reply_int(c->out, (int64_t)c->client->id);
    reply_bulk_cstr(c->out, "mode");
    reply_bulk_cstr(c->out, c->host->rings != NULL ? "cluster" : "standalone");
    reply_bulk_cstr(c->out, "role");
    reply_bulk_cstr(c->out, "master");
    reply_bulk_cstr(c->out, "modules");
    reply_array(c->out, 0);
}

static enum err hello_run(struct call *c) {
    int64_t proto = 0;
    struct slice user = {0}, password = {0}, name = {0};
    if (c->argc >= 2) {
        if (!num_parse_i64(c->argv[1], &proto)) {
            return call_errorf(c, "ERR Protocol version is not an integer or out of range");
        }
        if (proto < 2 || proto > 3) {
            return ERR_NOPROTO;
        }
    }
    for (int i = 2; i < c->argc; i++) {
        int more = c->argc - 1 - i;
        if (arg_is(c, i, "auth") && more >= 2) {
            user = c->argv[i + 1];
            password = c->argv[i + 2];
            i += 2;
        } else if (arg_is(c, i, "setname") && more >= 1) {
            name = c->argv[++i];
            if (!client_text_valid(name)) {
                return call_errorf(c, "ERR Client names cannot contain spaces, newlines or special characters.");
            }
        } else {
            return call_errorf(c, "ERR Syntax error in HELLO option '%.*s'", SLICE_ARG(c->argv[i]));
        }
    }
    if (user.p != NULL && !authenticate(c, user, password)) {
        return ERR_WRONGPASS;
    }
    if (!c->client->authenticated) {
        return call_errorf(c, "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> "
                              "AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol "
                              "version at the same time");
    }
    if (name.p != NULL) {
        c->host->ops->set_client_text(c->host, c->client, &c->client->name, name);
    }
    if (proto != 0) {
        c->out->proto = (uint8_t)proto;
        c->host->ops->set_proto(c, (uint8_t)proto);
    }
    reply_hello(c);
    return OK;
}

#define ANYTIME (CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_FAST | CMD_CONNECTION)

const struct command conn_commands[] = {
    {.name = "auth", .syntax = "[username] password", .arity = -2, .flags = ANYTIME | CMD_NO_AUTH | CMD_ALLOW_BUSY, .run = auth_run,
     .since = "1.0.0", .cost = "O(1)", .summary = "Gives the password."},
    {.name = "client", .syntax = "subcommand [argument ...]", .arity = -2, .sub = client_subs, .flags = 0, .since = "2.4.0",
     .cost = "Depends on the subcommand.", .summary = "Asks about connections and changes them."},
    {.name = "echo", .syntax = "message", .arity = 2, .flags = CMD_LOADING | CMD_STALE | CMD_FAST | CMD_CONNECTION, .run = echo_run,
     .since = "1.0.0", .cost = "O(1)", .summary = "Returns its argument."},
    {.name = "hello", .syntax = "[protover [AUTH username password] [SETNAME clientname]]", .arity = -1,
     .flags = ANYTIME | CMD_NO_AUTH | CMD_ALLOW_BUSY, .run = hello_run, .since = "6.0.0", .cost = "O(1)",
     .summary = "Picks the protocol version, and may authenticate and name the connection."},
    {.name = "ping", .syntax = "[message]", .arity = -1, .flags = CMD_FAST | CMD_CONNECTION, .run = ping_run, .since = "1.0.0",
     .cost = "O(1)", .summary = "Answers, so that one knows.", .tips = "request_policy:all_shards,response_policy:all_succeeded"},
    {.name = "quit", .syntax = "", .arity = -1, .flags = ANYTIME | CMD_NO_AUTH | CMD_ALLOW_BUSY | CMD_DIRECT, .run = quit_run,
     .since = "1.0.0", .cost = "O(1)", .summary = "Closes the connection.", .deprecated_since = "7.2.0", .replaced_by = "just closing the connection"},
    {.name = "reset", .syntax = "", .arity = 1, .flags = ANYTIME | CMD_NO_AUTH | CMD_ALLOW_BUSY | CMD_DIRECT, .run = reset_run,
     .since = "6.2.0", .cost = "O(1)", .summary = "Makes the connection as new."},
    {.name = "select", .syntax = "index", .arity = 2, .flags = CMD_LOADING | CMD_STALE | CMD_FAST | CMD_CONNECTION, .run = select_run,
     .since = "1.0.0", .cost = "O(1)", .summary = "Changes to another database."},
    {0}};
