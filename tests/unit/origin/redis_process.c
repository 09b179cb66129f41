/* SPDX-License-Identifier: BSD-3-Clause */
/* redis_process: fork, exec, and a blocking socket. */
#include "tests/unit/origin/redis_process.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/base/buf.h"
#include "src/base/check.h"
#include "src/base/mem.h"

enum { WORDS = 32, TRIES = 1000, TRY_US = 10000 };

struct redis_process {
    pid_t pid;
    int port;
    char dir[64];
    const char *const *options;
};

/* Below 55536: a cluster's bus listens 10000 above. */
static int free_port(void) {
    int port;
    do {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t n = sizeof(in);
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        CHECK(bind(fd, (struct sockaddr *)&in, n) == 0 && getsockname(fd, (struct sockaddr *)&in, &n) == 0);
        close(fd);
        port = ntohs(in.sin_port);
    } while (port > 55535);
    return port;
}

static int connect_to(int port) {
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&in, sizeof(in)) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void spawn(struct redis_process *p) {
    char port[8];
    const char *argv[WORDS] = {"redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", p->dir, "--logfile", "log"};
    int n = 11;
    snprintf(port, sizeof(port), "%d", p->port);
    for (int i = 0; p->options != NULL && p->options[i] != NULL; i++) {
        CHECK(n < WORDS - 1);
        argv[n++] = p->options[i];
    }
    p->pid = fork();
    CHECK(p->pid >= 0);
    if (p->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that dies leaves none behind */
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
}

/* False when it has ended instead. */
static bool wait_ready(struct redis_process *p) {
    for (int i = 0; i < TRIES; i++) {
        if (waitpid(p->pid, NULL, WNOHANG) == p->pid) {
            return false;
        }
        int fd = connect_to(p->port);
        if (fd >= 0) {
            close(fd);
            return true;
        }
        usleep(TRY_US); /* another process: there is no clock to set */
    }
    return false;
}

struct redis_process *redis_start(const char *const *options) {
    struct redis_process *p = mem_zalloc(sizeof(*p));
    snprintf(p->dir, sizeof(p->dir), "%s/strata-redis-XXXXXX", P_tmpdir);
    CHECK(mkdtemp(p->dir) != NULL);
    p->options = options;
    for (int i = 0; i < 3; i++) { /* somebody else may take the port */
        p->port = free_port();
        spawn(p);
        if (wait_ready(p)) {
            return p;
        }
    }
    rmdir(p->dir);
    mem_free(p);
    return NULL;
}

int redis_port(const struct redis_process *p) {
    return p->port;
}

void redis_kill(struct redis_process *p) {
    kill(p->pid, SIGKILL);
    waitpid(p->pid, NULL, 0);
}

void redis_restart(struct redis_process *p) {
    spawn(p);
    CHECK(wait_ready(p));
}

void redis_freeze(struct redis_process *p) {
    kill(p->pid, SIGSTOP);
}

void redis_thaw(struct redis_process *p) {
    kill(p->pid, SIGCONT);
}

void redis_end(struct redis_process **pp) {
    struct redis_process *p = *pp;
    char path[sizeof(p->dir) + 300];
    struct dirent *e;
    *pp = NULL;
    redis_kill(p);
    DIR *dir = opendir(p->dir);
    while (dir != NULL && (e = readdir(dir)) != NULL) {
        snprintf(path, sizeof(path), "%s/%s", p->dir, e->d_name);
        unlink(path);
    }
    closedir(dir);
    rmdir(p->dir);
    mem_free(p);
}

const char *redis_tell(const struct redis_process *p, const char *word, ...) {
    static char reply[65536];
    struct buf b = {0}, body = {0};
    int n = 0;
    va_list ap;
    va_start(ap, word);
    for (const char *w = word; w != NULL; w = va_arg(ap, const char *), n++) {
        buf_printf(&body, "$%zu\r\n%s\r\n", strlen(w), w);
    }
    va_end(ap);
    buf_printf(&b, "*%d\r\n%.*s", n, SLICE_ARG(buf_slice(&body)));
    int fd = connect_to(p->port);
    CHECK(fd >= 0);
    for (size_t at = 0; at < b.n;) {
        ssize_t sent = send(fd, b.p + at, b.n - at, MSG_NOSIGNAL);
        CHECK(sent > 0);
        at += (size_t)sent;
    }
    ssize_t got = recv(fd, reply, sizeof(reply) - 1, 0);
    CHECK(got > 0);
    reply[got] = '\0';
    close(fd);
    buf_free(&b);
    buf_free(&body);
    return reply;
}
