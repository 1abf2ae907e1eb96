/* A received frame, its IPv4 flow, and rewriting that keeps the checksums right. */
#ifndef VNF_PACKET_H
#define VNF_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PROTO_ICMP = 1, PROTO_TCP = 6, PROTO_UDP = 17 };

/* A 5-tuple in host byte order. Ports are 0 where the protocol has none; an ICMP echo has its identifier in both.
 * `zero` makes the padding explicit, so that a flow can be compared and hashed as bytes. */
struct flow {
    uint32_t src, dst;
    uint16_t src_port, dst_port;
    uint8_t proto;
    uint8_t zero[3];
};

struct packet {
    uint8_t *frame;
    size_t length;
    uint8_t *ip;      /* NULL unless IPv4 */
    uint8_t *l4;      /* NULL where there is no (whole) TCP, UDP or ICMP echo header */
    size_t l4_length; /* bytes from l4 to the end of the IPv4 packet */
    bool fragment;    /* one piece of a fragmented packet, the first one included */
    struct flow flow;
};

enum parse { PARSE_IPV4, PARSE_OTHER, PARSE_MALFORMED };

/* Fills everything but `frame` and `length`, which the caller has set. */
enum parse packet_parse(struct packet *packet);

/* Rewrite one end; IPv4, TCP, UDP and ICMP checksums are updated incrementally (RFC 1624, equation 3). A UDP
 * checksum of 0 ("none") stays 0. The port is ignored where the packet has none. */
void packet_set_source(struct packet *packet, uint32_t address, uint16_t port);
void packet_set_destination(struct packet *packet, uint32_t address, uint16_t port);

bool flow_equal(const struct flow *a, const struct flow *b);
uint64_t flow_hash(const struct flow *flow);

#endif
