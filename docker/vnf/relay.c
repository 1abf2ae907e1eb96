#define _GNU_SOURCE
#include "relay.h"

#include "control.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CARRIED_BYTES = 1 << 16 };

/* In the environment, since what is on a command line everybody on the machine may read. */
static const char join_variable[] = "VNF_JOIN";

static void carry(int from, int to)
{
    static char bytes[CARRIED_BYTES];
    for (;;) {
        const ssize_t got = read(from, bytes, sizeof bytes);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return;
        for (ssize_t sent = 0; sent < got;) {
            const ssize_t now = write(to, bytes + sent, (size_t)(got - sent));
            if (now < 0 && errno != EINTR)
                return;
            sent += now > 0 ? now : 0;
        }
    }
}

static void end(int signal)
{
    (void)signal;
    _exit(0);
}

/* A process for each direction: neither waits for the other, and none outlives it. */
static void carry_both_ways(int stream)
{
    const struct sigaction at_end = {.sa_handler = end};
    const pid_t parent = getpid();
    sigaction(SIGCHLD, &at_end, NULL);
    const pid_t child = fork();
    if (child < 0)
        return;
    if (child > 0) {
        carry(STDIN_FILENO, stream);
        return;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() == parent)
        carry(stream, STDOUT_FILENO);
    _exit(0);
}

int relay_run(const char *control_path)
{
    const char *join = getenv(join_variable);
    char request[REQUEST_BYTES];
    int ends[2];
    if (join == NULL) {
        fprintf(stderr, "vnf: %s is not set\n", join_variable);
        return 2;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
        fprintf(stderr, "vnf: no socket pair: %s\n", strerror(errno));
        return 1;
    }
    snprintf(request, sizeof request, "handover join %s\n", join);
    const int refused = control_pass(control_path, request, ends[1], stderr);
    close(ends[1]);
    if (refused == 0)
        carry_both_ways(ends[0]);
    return refused;
}
