#define _GNU_SOURCE
#include "port.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { RECEIVE_BUFFER_BYTES = 1 << 20 };

static uint8_t buffers[BATCH][FRAME_BYTES];

static void die(const char *what)
{
    fprintf(stderr, "vnf: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void set_option(int fd, int level, int option, int value)
{
    if (setsockopt(fd, level, option, &value, sizeof value) < 0)
        die("packet socket option");
}

static void join_promiscuous(int fd, int index)
{
    const struct packet_mreq request = {.mr_ifindex = index, .mr_type = PACKET_MR_PROMISC};
    if (setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &request, sizeof request) < 0)
        die("promiscuous mode");
}

/* Bound while the interface is still down: the kernel hooks the socket in before the first frame can arrive. */
static int open_packet_socket(int index)
{
    const struct sockaddr_ll address = {
        .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = index};
    const int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        die("packet socket (needs CAP_NET_RAW)");
    set_option(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1);
    set_option(fd, SOL_PACKET, PACKET_QDISC_BYPASS, 1);
    set_option(fd, SOL_SOCKET, SO_RCVBUF, RECEIVE_BUFFER_BYTES);
    if (bind(fd, (const struct sockaddr *)&address, sizeof address) < 0) {
        close(fd); /* gone again in between: its netlink message is on the way */
        return -1;
    }
    join_promiscuous(fd, index);
    return fd;
}

static void rebind(struct port *port, int index)
{
    if (port->fd >= 0) {
        port_update_drops(port);
        close(port->fd);
    }
    port->fd = index == 0 ? -1 : open_packet_socket(index);
    port->index = port->fd < 0 ? 0 : index;
}

static bool is_up(const struct port *port)
{
    struct ifreq request = {0};
    const int wanted = IFF_UP | IFF_RUNNING;
    strncpy(request.ifr_name, port->name, IFNAMSIZ - 1);
    return port->fd >= 0 && ioctl(port->fd, SIOCGIFFLAGS, &request) == 0 && (request.ifr_flags & wanted) == wanted;
}

static void look(struct port *port)
{
    const int index = (int)if_nametoindex(port->name);
    if (index != port->index)
        rebind(port, index);
    port->up = is_up(port);
}

void port_open(struct port *port, const char *name)
{
    const struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK};
    *port = (struct port){.name = name, .fd = -1};
    port->events = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (port->events < 0 || bind(port->events, (const struct sockaddr *)&address, sizeof address) < 0)
        die("netlink socket");
    look(port);
}

void port_follow(struct port *port)
{
    static uint8_t message[16384];
    while (recv(port->events, message, sizeof message, 0) > 0 || errno == ENOBUFS || errno == EINTR)
        errno = 0;
    look(port);
}

size_t port_receive(struct port *port, struct frame *frames)
{
    struct mmsghdr messages[BATCH];
    struct iovec parts[BATCH];
    memset(messages, 0, sizeof messages);
    for (size_t i = 0; i < BATCH; i++) {
        parts[i] = (struct iovec){buffers[i], FRAME_BYTES};
        messages[i].msg_hdr.msg_iov = &parts[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    const int count = recvmmsg(port->fd, messages, BATCH, MSG_DONTWAIT, NULL);
    for (int i = 0; i < count; i++)
        frames[i] = (struct frame){buffers[i], messages[i].msg_len, !(messages[i].msg_hdr.msg_flags & MSG_TRUNC)};
    return count > 0 ? (size_t)count : 0; /* ENETDOWN: the interface fell, a netlink message tells */
}

size_t port_send(struct port *port, const struct frame *frames, size_t count)
{
    struct mmsghdr messages[BATCH];
    struct iovec parts[BATCH];
    size_t sent = 0;
    memset(messages, 0, sizeof messages);
    for (size_t i = 0; i < count; i++) {
        parts[i] = (struct iovec){frames[i].bytes, frames[i].length};
        messages[i].msg_hdr.msg_iov = &parts[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    while (sent < count) { /* stops at the first frame that is refused, which sendmmsg reports only when asked again */
        const int now = sendmmsg(port->fd, messages + sent, (unsigned)(count - sent), MSG_DONTWAIT);
        if (now <= 0)
            return sent;
        sent += (size_t)now;
    }
    return sent;
}

void port_update_drops(struct port *port)
{
    struct tpacket_stats statistics;
    socklen_t length = sizeof statistics;
    if (port->fd >= 0 && getsockopt(port->fd, SOL_PACKET, PACKET_STATISTICS, &statistics, &length) == 0)
        port->kernel_dropped += statistics.tp_drops; /* reading resets them */
}
