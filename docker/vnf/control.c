#define _GNU_SOURCE
#include "control.h"

#include "memory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { ANSWER_TIMEOUT_S = 2 };

static bool set_address(struct sockaddr_un *address, const char *path)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address->sun_path) {
        errno = ENAMETOOLONG;
        return false;
    }
    strcpy(address->sun_path, path);
    return true;
}

void control_open(struct control *control, const char *path)
{
    struct sockaddr_un address;
    control->fd = -1;
    for (int i = 0; i < MAX_CLIENTS; i++)
        control->clients[i] = (struct client){.fd = -1};
    if (path == NULL)
        return;
    control->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const bool named = set_address(&address, path);
    if (named)
        unlink(path); /* left by a predecessor */
    if (!named || control->fd < 0 || bind(control->fd, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(control->fd, MAX_CLIENTS) < 0) {
        fprintf(stderr, "vnf: control socket %s: %s\n", path, strerror(errno));
        exit(1);
    }
}

static struct client *free_client(struct control *control)
{
    for (int i = 0; i < MAX_CLIENTS; i++)
        if (control->clients[i].fd < 0)
            return &control->clients[i];
    return NULL;
}

struct client *control_accept(struct control *control)
{
    const int fd = accept4(control->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct client *client = free_client(control);
    if (fd < 0)
        return NULL;
    if (client == NULL) {
        close(fd); /* refused rather than left to wait */
        return NULL;
    }
    *client = (struct client){.fd = fd, .request = zeroed(REQUEST_BYTES, 1), .passed = -1};
    return client;
}

static void drop_passed(struct client *client)
{
    if (client->passed >= 0)
        close(client->passed);
    client->passed = -1;
}

static void hang_up(struct client *client)
{
    close(client->fd);
    drop_passed(client);
    free(client->request);
    *client = (struct client){.fd = -1};
}

/* An answer that does not fit the socket's buffer at once means that nobody reads: the connection ends. */
static bool answer(struct client *client, char *request, struct vnf *vnf, uint64_t now_ns)
{
    struct json json = {0};
    vnf_answer(vnf, request, &client->passed, &json, now_ns);
    drop_passed(client); /* unless it was taken */
    json.text[json.length++] = '\n'; /* in the place of the terminating 0 */
    const bool sent = send(client->fd, json.text, json.length, MSG_NOSIGNAL) == (ssize_t)json.length;
    json_free(&json);
    return sent;
}

static bool answer_lines(struct client *client, struct vnf *vnf, uint64_t now_ns)
{
    char *end;
    while ((end = memchr(client->request, '\n', client->length)) != NULL) {
        *end = '\0';
        if (!answer(client, client->request, vnf, now_ns))
            return false;
        client->length -= (size_t)(end + 1 - client->request);
        memmove(client->request, end + 1, client->length);
    }
    return client->length < REQUEST_BYTES;
}

/* What is asked, and the descriptor that may come with it; the kernel closes what is more than one. */
static ssize_t receive(struct client *client)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr aligned;
    } control;
    struct iovec part = {client->request + client->length, REQUEST_BYTES - client->length};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    const ssize_t got = recvmsg(client->fd, &message, MSG_CMSG_CLOEXEC);
    const struct cmsghdr *header = got < 0 ? NULL : CMSG_FIRSTHDR(&message);
    if (header != NULL && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
        drop_passed(client);
        memcpy(&client->passed, CMSG_DATA(header), sizeof client->passed);
    }
    return got;
}

bool control_serve(struct client *client, struct vnf *vnf, uint64_t now_ns)
{
    const ssize_t got = receive(client);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    client->length += got > 0 ? (size_t)got : 0;
    if (got > 0 && answer_lines(client, vnf, now_ns))
        return true;
    hang_up(client);
    return false;
}

static int connect_to(const char *path)
{
    struct sockaddr_un address;
    const struct timeval timeout = {.tv_sec = ANSWER_TIMEOUT_S};
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || !set_address(&address, path))
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    return connect(fd, (struct sockaddr *)&address, sizeof address) < 0 ? -1 : fd;
}

/* Prints the line that is answered; the program's exit code. */
static int report(FILE *stream, FILE *out)
{
    char *line = NULL;
    size_t capacity = 0;
    if (getline(&line, &capacity, stream) <= 0)
        return -1;
    fputs(line, out);
    fflush(out);
    const bool good = strncmp(line, "{\"ok\":true", 10) == 0;
    free(line);
    return good ? 0 : 1;
}

static int no_answer(const char *path)
{
    fprintf(stderr, "vnf: no answer at %s: %s\n", path, strerror(errno));
    return 1;
}

static bool send_request(FILE *stream, int words, char **word)
{
    for (int i = 0; i < words; i++)
        fprintf(stream, "%s%c", word[i], i + 1 == words ? '\n' : ' ');
    return fflush(stream) == 0;
}

int control_ask(const char *path, int words, char **word)
{
    const int fd = connect_to(path);
    FILE *stream = fd < 0 ? NULL : fdopen(fd, "r+");
    const int told = stream == NULL || !send_request(stream, words, word) ? -1 : report(stream, stdout);
    return told < 0 ? no_answer(path) : told;
}

static bool send_with_descriptor(int fd, char *request, int passed)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr aligned;
    } control = {.aligned = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    struct iovec part = {request, strlen(request)};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    memcpy(CMSG_DATA(&control.aligned), &passed, sizeof passed);
    return sendmsg(fd, &message, MSG_NOSIGNAL) == (ssize_t)part.iov_len;
}

int control_pass(const char *path, char *request, int passed, FILE *out)
{
    const int fd = connect_to(path);
    FILE *stream = fd < 0 ? NULL : fdopen(fd, "r");
    const int told = stream == NULL || !send_with_descriptor(fd, request, passed) ? -1 : report(stream, out);
    if (stream != NULL)
        fclose(stream);
    return told < 0 ? no_answer(path) : told;
}
