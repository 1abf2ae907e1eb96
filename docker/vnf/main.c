/* vnf: one network function behind one port. See docs/vnf.md. */
#define _GNU_SOURCE
#include "clock.h"
#include "control.h"
#include "options.h"
#include "relay.h"

#include <errno.h>
#include <getopt.h>
#include <sodium.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

static const char usage_text[] =
    "usage: vnf (--config FILE | --config-base64 TEXT) [--control SOCKET] [--interface NAME] [--standby]\n"
    "       vnf ctl [--control SOCKET] REQUEST...      health | counters | configure [BASE64] | activate |\n"
    "                                              handover status | take | leave\n"
    "       vnf relay [--control SOCKET]           a hand-over's stream on stdin and stdout; VNF_JOIN names the session\n"
    "       vnf --version\n";

struct arguments {
    const char *config_path, *config_base64, *control_path, *interface;
    bool version, standby;
};

enum { EXIT_WRONG_INPUT = 2, MAX_EVENTS = 8 };

static void end(int signal)
{
    (void)signal;
    _exit(0); /* at once: nothing is owed to anybody, what was received has been sent */
}

/* Process 1 of a container ignores signals that it does not handle. */
static void handle_signals(void)
{
    const struct sigaction at_end = {.sa_handler = end}, ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGTERM, &at_end, NULL);
    sigaction(SIGINT, &at_end, NULL);
    sigaction(SIGPIPE, &ignore, NULL);
}

static void watch(int poller, int operation, int fd, int events, void *tag)
{
    struct epoll_event event = {.events = (uint32_t)events, .data.ptr = tag};
    if (fd >= 0 && epoll_ctl(poller, operation, fd, &event) < 0) {
        fprintf(stderr, "vnf: epoll: %s\n", strerror(errno));
        exit(1);
    }
}

/* From the events that are watched now to those that should be; none at all is out of the poller, since errors are
 * reported whether they are asked for or not. */
static void rewatch(int poller, int fd, int *watched, int wanted, void *tag)
{
    if (fd < 0 || *watched == wanted)
        return;
    watch(poller, wanted == 0 ? EPOLL_CTL_DEL : *watched == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, wanted, tag);
    *watched = wanted;
}

/* A closed packet socket has left the poller by itself. */
static void follow_port(struct vnf *vnf)
{
    const int index = vnf->port.index;
    port_follow(&vnf->port);
    if (vnf->port.index != index)
        vnf->port.watched_events = 0;
}

static void serve(struct vnf *vnf, struct control *control, void *tag)
{
    const uint64_t now_ns = clock_ns();
    if (tag == &vnf->port.fd) {
        vnf_forward(vnf, now_ns);
    } else if (tag == &vnf->port.events) {
        follow_port(vnf);
    } else if (tag == &control->fd) {
        struct client *client = control_accept(control);
        if (client != NULL)
            watch(vnf->poller, EPOLL_CTL_ADD, client->fd, EPOLLIN, client);
    } else if (tag == &vnf->session) {
        session_serve(vnf, now_ns);
    } else {
        control_serve(tag, vnf, now_ns);
    }
}

/* What is watched follows from where a hand-over is. Returns for how long to wait (ms). */
static int prepare(struct vnf *vnf)
{
    struct session *session = &vnf->session;
    session_turn(vnf, clock_ns());
    const int wanted = EPOLLIN | (session->fd >= 0 && buffer_pending(&session->out) > 0 ? EPOLLOUT : 0);
    rewatch(vnf->poller, session->fd, &session->watched_events, wanted, session);
    rewatch(vnf->poller, vnf->port.fd, &vnf->port.watched_events, vnf_reads_port(vnf) ? EPOLLIN : 0, &vnf->port.fd);
    return session_wait_ms(vnf, clock_ns());
}

static void run(struct vnf *vnf, struct control *control)
{
    struct epoll_event events[MAX_EVENTS];
    watch(vnf->poller, EPOLL_CTL_ADD, vnf->port.events, EPOLLIN, &vnf->port.events);
    watch(vnf->poller, EPOLL_CTL_ADD, control->fd, EPOLLIN, &control->fd);
    for (;;) {
        const int timeout_ms = prepare(vnf);
        const int count = epoll_wait(vnf->poller, events, MAX_EVENTS, timeout_ms);
        for (int i = 0; i < count; i++)
            serve(vnf, control, events[i].data.ptr);
    }
}

static int wrong(const char *message)
{
    fprintf(stderr, "vnf: %s\n", message);
    return EXIT_WRONG_INPUT;
}

static bool parse_arguments(int argc, char **argv, struct arguments *out)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},    {"config-base64", required_argument, NULL, 'b'},
        {"control", required_argument, NULL, 's'},   {"interface", required_argument, NULL, 'i'},
        {"version", no_argument, NULL, 'v'},         {"standby", no_argument, NULL, 'y'},
        {0}};
    *out = (struct arguments){.control_path = "/run/vnf/control.sock", .interface = "eth0"};
    for (int option; (option = getopt_long(argc, argv, "+", options, NULL)) != -1;) {
        switch (option) {
        case 'c': out->config_path = optarg; break;
        case 'b': out->config_base64 = optarg; break;
        case 's': out->control_path = optarg; break;
        case 'i': out->interface = optarg; break;
        case 'v': out->version = true; break;
        case 'y': out->standby = true; break;
        default: return false;
        }
    }
    return true;
}

static bool configure(struct vnf *vnf, const struct arguments *arguments, char *error)
{
    char *text = arguments->config_path != NULL ? config_read(arguments->config_path, error)
                                                : config_decode(arguments->config_base64, error);
    const bool good = text != NULL && vnf_configure(vnf, text, error);
    free(text);
    return good;
}

static int run_vnf(const struct arguments *arguments)
{
    static struct vnf vnf;
    static struct control control;
    char error[ERROR_BYTES], message[ERROR_BYTES + 200];
    vnf.started_ns = clock_ns();
    vnf.config_path = arguments->config_path;
    vnf.active = !arguments->standby;
    vnf.poller = epoll_create1(EPOLL_CLOEXEC);
    session_init(&vnf.session);
    if (sodium_init() < 0)
        return wrong("the random number generator does not answer");
    handle_signals();
    if (!configure(&vnf, arguments, error)) {
        const char *source = arguments->config_path ? arguments->config_path : "configuration";
        snprintf(message, sizeof message, "%.180s: %s", source, error);
        return wrong(message);
    }
    port_open(&vnf.port, arguments->interface);
    control_open(&control, arguments->control_path);
    run(&vnf, &control);
    return 0;
}

static int usage(void)
{
    fputs(usage_text, stderr);
    return EXIT_WRONG_INPUT;
}

int main(int argc, char **argv)
{
    struct arguments arguments;
    const bool client = argc > 1 && strcmp(argv[1], "ctl") == 0, relay = argc > 1 && strcmp(argv[1], "relay") == 0;
    const int verb = client || relay;
    if (!parse_arguments(argc - verb, argv + verb, &arguments))
        return usage();
    if (arguments.version) {
        puts("vnf " VNF_VERSION);
        return 0;
    }
    const int first = optind + verb;
    if (client && first < argc)
        return control_ask(arguments.control_path, argc - first, argv + first);
    if (client || first < argc)
        return usage();
    if (relay)
        return relay_run(arguments.control_path);
    return (arguments.config_path == NULL) == (arguments.config_base64 == NULL) ? usage() : run_vnf(&arguments);
}
