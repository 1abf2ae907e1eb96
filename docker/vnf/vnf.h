/* A running VNF: its configuration, its port and its counters. */
#ifndef VNF_VNF_H
#define VNF_VNF_H

#include "config.h"
#include "session.h"

#define VNF_VERSION "1.0.0"

struct volume {
    uint64_t packets, bytes;
};

struct vnf {
    struct config config;
    const char *config_path; /* NULL: given on the command line */
    double steps_per_us;     /* 0 until work was asked for */
    uint64_t work_steps;
    uint64_t started_ns;
    struct port port;
    int poller;
    bool active; /* forwards; false: stands by for another instance, or has handed over to one */
    struct session session;
    struct volume rx, tx, dropped;                 /* dropped: by decision of the function */
    uint64_t malformed_packets, unsent_packets;    /* not IPv4 though it says so, or too long; refused by the port */
    uint64_t standby_packets; /* came to one that stands by, and went nowhere */
};

/* One batch through the function, or to the instance that serves in our place. */
void vnf_forward(struct vnf *vnf, uint64_t now_ns);
/* One frame that the former owner sent on. */
void vnf_deliver(struct vnf *vnf, struct frame *frame, uint64_t now_ns);
/* Whether the port is to be read now. */
bool vnf_reads_port(const struct vnf *vnf);
/* The state; NULL for a function that has none. */
struct table *vnf_table(const struct vnf *vnf);
/* Takes a configuration over, with the tables of the one before where they still fit; a bad one changes nothing. */
bool vnf_configure(struct vnf *vnf, char *text, char *error);
/* One request of the control protocol and its answer. `passed` is a descriptor that came with it, or -1; taken when it
 * is -1 afterwards. */
void vnf_answer(struct vnf *vnf, char *request, int *passed, struct json *out, uint64_t now_ns);

#endif
