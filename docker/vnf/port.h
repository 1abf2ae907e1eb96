/* The one network port: batches of frames in and out of an AF_PACKET socket. */
#ifndef VNF_PORT_H
#define VNF_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum { BATCH = 32, FRAME_BYTES = 9216 };

struct frame {
    uint8_t *bytes;
    size_t length;
    bool whole; /* false: longer than FRAME_BYTES, what is beyond is lost */
};

struct port {
    const char *name;
    int fd;      /* the packet socket, -1 while there is no interface */
    int events;  /* netlink: links that come, go, rise and fall */
    int watched_events;
    int index;   /* of the interface the socket is bound to */
    bool up;     /* administratively up, with carrier */
    uint64_t kernel_dropped; /* frames that came faster than they were read */
};

/* Opens the netlink socket and, where the interface exists already, the packet socket; ends the program with one
 * line when the system refuses either. */
void port_open(struct port *port, const char *name);
/* To be called when `events` is readable: takes a new interface, gives up one that is gone. */
void port_follow(struct port *port);
/* Up to BATCH frames that are there now; their memory is the port's until the next call. */
size_t port_receive(struct port *port, struct frame *frames);
/* How many of the frames, from the first, the interface took. */
size_t port_send(struct port *port, const struct frame *frames, size_t count);
void port_update_drops(struct port *port);

#endif
