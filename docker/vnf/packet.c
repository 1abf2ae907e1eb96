#include "packet.h"

#include <string.h>

enum {
    ETHERNET_BYTES = 14,
    ETHERTYPE_OFFSET = 12,
    ETHERTYPE_IPV4 = 0x0800,
    IP_MIN_BYTES = 20,
    IP_CHECKSUM = 10,
    IP_SOURCE = 12,
    IP_DESTINATION = 16,
    UDP_CHECKSUM = 6,
    TCP_CHECKSUM = 16,
    ICMP_CHECKSUM = 2,
    ICMP_IDENTIFIER = 4,
    ICMP_ECHO_REPLY = 0,
    ICMP_ECHO_REQUEST = 8,
};

static uint16_t read16(const uint8_t *at) { return (uint16_t)(at[0] << 8 | at[1]); }

static uint32_t read32(const uint8_t *at) { return (uint32_t)read16(at) << 16 | read16(at + 2); }

static void write16(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static void write32(uint8_t *at, uint32_t value)
{
    write16(at, (uint16_t)(value >> 16));
    write16(at + 2, (uint16_t)value);
}

/* RFC 1624, equation 3: HC' = ~(~HC + ~m + m'). */
static void checksum_replace(uint8_t *checksum, uint16_t old, uint16_t new)
{
    uint32_t sum = (uint16_t)~read16(checksum);
    sum += (uint16_t)~old;
    sum += new;
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    write16(checksum, (uint16_t)~sum);
}

static void checksum_replace32(uint8_t *checksum, uint32_t old, uint32_t new)
{
    checksum_replace(checksum, (uint16_t)(old >> 16), (uint16_t)(new >> 16));
    checksum_replace(checksum, (uint16_t)old, (uint16_t)new);
}

static size_t header_bytes(uint8_t proto)
{
    return proto == PROTO_TCP ? 20 : 8;
}

static bool has_ports(const struct packet *packet)
{
    uint8_t proto = packet->flow.proto;
    if (packet->l4_length < header_bytes(proto))
        return false;
    if (proto == PROTO_ICMP)
        return packet->l4[0] == ICMP_ECHO_REPLY || packet->l4[0] == ICMP_ECHO_REQUEST;
    return proto == PROTO_TCP || proto == PROTO_UDP;
}

static void parse_ports(struct packet *packet)
{
    if (packet->flow.proto == PROTO_ICMP) {
        packet->flow.src_port = packet->flow.dst_port = read16(packet->l4 + ICMP_IDENTIFIER);
    } else {
        packet->flow.src_port = read16(packet->l4);
        packet->flow.dst_port = read16(packet->l4 + 2);
    }
}

enum parse packet_parse(struct packet *packet)
{
    const size_t length = packet->length;
    packet->ip = packet->l4 = NULL;
    packet->l4_length = 0;
    packet->fragment = false;
    memset(&packet->flow, 0, sizeof packet->flow);
    if (length < ETHERNET_BYTES)
        return PARSE_MALFORMED;
    if (read16(packet->frame + ETHERTYPE_OFFSET) != ETHERTYPE_IPV4)
        return PARSE_OTHER;
    uint8_t *ip = packet->frame + ETHERNET_BYTES;
    if (length < ETHERNET_BYTES + IP_MIN_BYTES || ip[0] >> 4 != 4)
        return PARSE_MALFORMED;
    const size_t header = (size_t)(ip[0] & 15) * 4, total = read16(ip + 2);
    if (header < IP_MIN_BYTES || total < header || total > length - ETHERNET_BYTES)
        return PARSE_MALFORMED;
    const uint16_t fragment = read16(ip + 6);
    packet->ip = ip;
    packet->fragment = (fragment & 0x3fff) != 0; /* offset, or more to come */
    packet->flow.proto = ip[9];
    packet->flow.src = read32(ip + IP_SOURCE);
    packet->flow.dst = read32(ip + IP_DESTINATION);
    packet->l4 = ip + header;
    packet->l4_length = total - header;
    if ((fragment & 0x1fff) == 0 && has_ports(packet))
        parse_ports(packet);
    else
        packet->l4 = NULL;
    return PARSE_IPV4;
}

/* The transport checksum, or NULL where there is none to update. */
static uint8_t *l4_checksum(const struct packet *packet)
{
    if (packet->l4 == NULL)
        return NULL;
    if (packet->flow.proto == PROTO_TCP)
        return packet->l4 + TCP_CHECKSUM;
    if (packet->flow.proto == PROTO_ICMP)
        return packet->l4 + ICMP_CHECKSUM;
    uint8_t *udp = packet->l4 + UDP_CHECKSUM;
    return read16(udp) == 0 ? NULL : udp;
}

static void set_address(struct packet *packet, size_t offset, uint32_t address)
{
    uint8_t *at = packet->ip + offset, *checksum = l4_checksum(packet);
    const uint32_t old = read32(at);
    write32(at, address);
    checksum_replace32(packet->ip + IP_CHECKSUM, old, address);
    if (checksum != NULL && packet->flow.proto != PROTO_ICMP) /* no pseudo-header in the ICMP sum */
        checksum_replace32(checksum, old, address);
}

static void set_port(struct packet *packet, size_t offset, uint16_t port)
{
    if (packet->l4 == NULL)
        return;
    uint8_t *at = packet->l4 + offset, *checksum = l4_checksum(packet);
    const uint16_t old = read16(at);
    write16(at, port);
    if (checksum != NULL)
        checksum_replace(checksum, old, port);
}

/* A computed UDP checksum of 0 is sent as its other form, since 0 means "none" (RFC 768). */
static void mend_udp_zero(struct packet *packet, bool had_checksum)
{
    if (had_checksum && packet->flow.proto == PROTO_UDP && read16(packet->l4 + UDP_CHECKSUM) == 0)
        write16(packet->l4 + UDP_CHECKSUM, 0xffff);
}

static void set_end(struct packet *packet, size_t address_at, uint32_t address, size_t port_at, uint16_t port)
{
    const bool had_checksum = l4_checksum(packet) != NULL;
    set_address(packet, address_at, address);
    /* Between the two updates the sum may pass through 0, which must not be taken for "none". */
    mend_udp_zero(packet, had_checksum);
    set_port(packet, packet->flow.proto == PROTO_ICMP ? ICMP_IDENTIFIER : port_at, port);
    mend_udp_zero(packet, had_checksum);
}

void packet_set_source(struct packet *packet, uint32_t address, uint16_t port)
{
    set_end(packet, IP_SOURCE, address, 0, port);
    packet->flow.src = address;
    packet->flow.src_port = port;
}

void packet_set_destination(struct packet *packet, uint32_t address, uint16_t port)
{
    set_end(packet, IP_DESTINATION, address, 2, port);
    packet->flow.dst = address;
    packet->flow.dst_port = port;
}

bool flow_equal(const struct flow *a, const struct flow *b) { return memcmp(a, b, sizeof *a) == 0; }

static uint64_t mix(uint64_t value)
{
    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9u;
    value = (value ^ value >> 27) * 0x94d049bb133111ebu;
    return value ^ value >> 31;
}

uint64_t flow_hash(const struct flow *flow)
{
    const uint64_t addresses = (uint64_t)flow->src << 32 | flow->dst;
    const uint64_t rest = (uint64_t)flow->proto << 32 | (uint32_t)flow->src_port << 16 | flow->dst_port;
    return mix(mix(addresses) ^ rest);
}
