/* The control socket: a unix stream socket that answers each line with one line of JSON. */
#ifndef VNF_CONTROL_H
#define VNF_CONTROL_H

#include "vnf.h"

#include <stdio.h>

enum { MAX_CLIENTS = 8, REQUEST_BYTES = 1 << 17 };

struct client {
    int fd; /* -1: free */
    char *request;
    size_t length;
    int passed; /* a descriptor that came with what was asked, -1: none */
};

struct control {
    int fd; /* listening, -1: none asked for */
    struct client clients[MAX_CLIENTS];
};

/* Ends the program with one line when the socket cannot be made. `path` NULL: no control. */
void control_open(struct control *control, const char *path);
/* A free client for a connection that waits, or NULL when nobody waits or all are taken. */
struct client *control_accept(struct control *control);
/* Reads and answers; false when the connection is over, and its client free. Never blocks. */
bool control_serve(struct client *client, struct vnf *vnf, uint64_t now_ns);
/* The client: sends one request, prints the answer; the program's exit code (0 when the answer is ok). */
int control_ask(const char *path, int words, char **word);
/* The same for a whole line, with a descriptor that the program at `path` gets; the answer goes to `out`. */
int control_pass(const char *path, char *request, int passed, FILE *out);

#endif
