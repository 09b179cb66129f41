/* SPDX-License-Identifier: BSD-3-Clause */
/* main: arguments, then the server. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/cmd/cmd.h"
#include "src/conf/conf.h"
#include "src/server/boot.h"
#include "src/server/print.h"
#include "src/server/rules.h"

static const char usage[] =
    "Usage: strata-server [cache.conf] [--directive value ...]\n"
    "       strata-server --import dump.rdb|redis://[user:password@]host[:port][/db] [cache.conf] ...\n"
    "       strata-server --print conf|commands|stats|errors|locks|docs:NAME\n"
    "       strata-server --help | --version\n"
    "\n"
    "A Redis-protocol cache. The file has redis.conf's syntax; directives on the command line\n"
    "come after it, as in: strata-server cache.conf --port 7000 --maxmemory 1gb\n";

static void to_background(struct conf_store *store) {
    struct conf *conf = conf_store_current(store);
    if (conf->daemonize && daemon(1, 0) != 0) {
        perror("daemonize");
        exit(1);
    }
    conf_unref(conf);
}

/* Takes `--import WHAT` out of the arguments: a URL, or a path made absolute, for the server changes its directory. NULL: there is
 * none. Ends the process when there is no such file. */
static const char *take_import(int *argc, char **argv, char *path) {
    for (int i = 1; i + 1 < *argc; i++) {
        if (strcmp(argv[i], "--import") != 0) {
            continue;
        }
        const char *from = argv[i + 1];
        if (strncasecmp(from, "redis://", 8) != 0) {
            if (realpath(from, path) == NULL) {
                perror(from);
                exit(1);
            }
            from = path;
        }
        memmove(argv + i, argv + i + 2, (size_t)(*argc - i - 1) * sizeof(*argv)); /* the NULL at the end, too */
        *argc -= 2;
        return from;
    }
    return NULL;
}

int main(int argc, char **argv) {
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        fputs(usage, stdout);
        return 0;
    }
    if (argc > 1 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-v") == 0)) {
        printf("Strata server v=%s sha=%s\n", STRATA_VERSION, STRATA_GIT_SHA);
        return 0;
    }
    registry_init();
    if (argc == 3 && strcmp(argv[1], "--print") == 0) {
        return print_table(argv[2]) ? 0 : 1;
    }
    struct buf err = {0};
    char import_path[PATH_MAX];
    const char *import = take_import(&argc, argv, import_path);
    struct conf_store *store = conf_load(argc, argv, &rules_hooks, &err);
    if (store == NULL) {
        fprintf(stderr, "%.*s\n", (int)err.n, err.p);
        buf_free(&err);
        return 1;
    }
    char executable[PATH_MAX] = "";
    ssize_t n = readlink("/proc/self/exe", executable, sizeof(executable) - 1);
    executable[n > 0 ? n : 0] = '\0';
    to_background(store);
    return server_run(store, executable, import);
}
