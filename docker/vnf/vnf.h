/* A running VNF: its configuration, its port and its counters. */
#ifndef VNF_VNF_H
#define VNF_VNF_H

#include "config.h"
#include "port.h"

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
    struct volume rx, tx, dropped;                 /* dropped: by decision of the function */
    uint64_t malformed_packets, unsent_packets;    /* not IPv4 though it says so, or too long; refused by the port */
};

/* One batch through the function. */
void vnf_forward(struct vnf *vnf, uint64_t now_ns);
/* Takes a configuration over, with the tables of the one before where they still fit; a bad one changes nothing. */
bool vnf_configure(struct vnf *vnf, char *text, char *error);
/* One request of the control protocol and its answer. */
void vnf_answer(struct vnf *vnf, char *request, struct json *out, uint64_t now_ns);

#endif
