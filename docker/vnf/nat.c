/* nat: source NAT to one external address, endpoint-independent (RFC 4787): (protocol, address, port) inside is one
 * port outside, its own where free, else the next free one. Packets to the external address are translated back. */
#include "memory.h"
#include "options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_PORT = 1024 };

struct nat {
    uint32_t external; /* 0: not given */
    struct table_options options;
    struct table *table;
    uint64_t untranslatable_packets; /* fragments, protocols without ports, answers to nobody */
    uint64_t full_packets;
};

static void *create(void)
{
    struct nat *self = zeroed(1, sizeof *self);
    self->options = (struct table_options){.entries = 16384, .timeout_ns = 300000000000u, .top = 10};
    return self;
}

static bool option(void *self_, const struct words *line, char *error)
{
    struct nat *self = self_;
    if (strcmp(line->word[0], "external") == 0)
        return expect_words(line, 1, 1, error) && parse_address(line->word[1], &self->external, error);
    return parse_table_option(line, &self->options, error);
}

static bool finish(void *self_, char *error)
{
    struct nat *self = self_;
    if (self->external == 0)
        return fail(error, "nat needs an external address (external A.B.C.D)");
    self->table = table_new(self->options.entries);
    return true;
}

/* How the flow of an answer looks: from anywhere to our address and the port given to this flow. */
static struct flow answer_to(const struct nat *self, uint8_t proto, uint16_t port)
{
    return (struct flow){.dst = self->external, .dst_port = port, .proto = proto};
}

static bool is_free(const struct nat *self, uint8_t proto, uint16_t port)
{
    const struct flow mapped = answer_to(self, proto, port);
    return port != 0 && table_find_mapped(self->table, &mapped) == NULL;
}

/* The wanted port, or the first free one after it, wrapping from 65535 to FIRST_PORT; 0: none is free. */
static uint16_t choose_port(const struct nat *self, uint8_t proto, uint16_t wanted)
{
    uint32_t port = wanted;
    if (is_free(self, proto, wanted))
        return wanted;
    for (uint32_t tries = FIRST_PORT; tries <= UINT16_MAX; tries++) {
        port = port >= UINT16_MAX || port < FIRST_PORT ? FIRST_PORT : port + 1;
        if (is_free(self, proto, (uint16_t)port))
            return (uint16_t)port;
    }
    return 0;
}

static struct entry *add_mapping(struct nat *self, const struct flow *key, uint64_t now_ns)
{
    table_expire(self->table, self->options.timeout_ns, now_ns);
    const uint16_t port = choose_port(self, key->proto, key->src_port);
    const struct flow mapped = answer_to(self, key->proto, port);
    return port == 0 ? NULL : table_add(self->table, key, &mapped, now_ns);
}

static bool is_live(const struct nat *self, const struct entry *entry, uint64_t now_ns)
{
    return age_ns(entry->last_ns, now_ns) <= self->options.timeout_ns;
}

static enum verdict translate_out(struct nat *self, struct packet *packet, uint64_t now_ns)
{
    const struct flow key = {.src = packet->flow.src, .src_port = packet->flow.src_port, .proto = packet->flow.proto};
    struct entry *entry = table_find(self->table, &key);
    if (entry != NULL && !is_live(self, entry, now_ns)) {
        table_remove(self->table, entry);
        entry = NULL;
    }
    if (entry == NULL)
        entry = add_mapping(self, &key, now_ns);
    if (entry == NULL) {
        self->full_packets++;
        return DROP;
    }
    table_touch(self->table, entry, packet->length, now_ns);
    packet_set_source(packet, self->external, entry->mapped.dst_port);
    return FORWARD;
}

static enum verdict translate_back(struct nat *self, struct packet *packet, uint64_t now_ns)
{
    const struct flow mapped = answer_to(self, packet->flow.proto, packet->flow.dst_port);
    struct entry *entry = table_find_mapped(self->table, &mapped);
    if (entry == NULL || !is_live(self, entry, now_ns)) {
        self->untranslatable_packets++;
        return DROP;
    }
    table_touch(self->table, entry, packet->length, now_ns);
    packet_set_destination(packet, entry->key.src, entry->key.src_port);
    return FORWARD;
}

static enum verdict process(void *self_, struct packet *packet, uint64_t now_ns)
{
    struct nat *self = self_;
    if (packet->fragment || packet->l4 == NULL) {
        self->untranslatable_packets++;
        return DROP;
    }
    return packet->flow.dst == self->external ? translate_back(self, packet, now_ns)
                                              : translate_out(self, packet, now_ns);
}

static void counters(void *self_, struct json *out, uint64_t now_ns)
{
    const struct nat *self = self_;
    json_count(out, "untranslatable_packets", self->untranslatable_packets);
    json_count(out, "full_packets", self->full_packets);
    table_to_json(self->table, out, self->options.top, now_ns);
}

/* The mappings stay valid under the same address and the same size of table. */
static void adopt(void *self_, void *predecessor_)
{
    struct nat *self = self_, *predecessor = predecessor_;
    if (self->external != predecessor->external || self->options.entries != predecessor->options.entries)
        return;
    table_free(self->table);
    self->table = predecessor->table;
    predecessor->table = NULL;
}

static struct table *state(void *self_)
{
    struct nat *self = self_;
    return self->table;
}

static size_t numbers(void *self_, uint64_t **at)
{
    struct nat *self = self_;
    at[0] = &self->untranslatable_packets;
    at[1] = &self->full_packets;
    return 2;
}

static void fits(void *self_, char *out)
{
    const struct nat *self = self_;
    snprintf(out, FITS_BYTES, "external=%08x entries=%zu", self->external, self->table->capacity);
}

static bool accepts(void *self_, const struct flow *key, const struct flow *mapped)
{
    const struct nat *self = self_;
    const struct flow inside = {.src = key->src, .src_port = key->src_port, .proto = key->proto};
    const struct flow answer = answer_to(self, key->proto, mapped->dst_port);
    return flow_equal(key, &inside) && flow_equal(mapped, &answer) && mapped->dst_port != 0;
}

static void destroy(void *self_)
{
    struct nat *self = self_;
    table_free(self->table);
    free(self);
}

const struct function nat = {
    .name = "nat", .create = create, .option = option, .finish = finish, .adopt = adopt,
    .process = process, .counters = counters, .state = state, .numbers = numbers, .fits = fits, .accepts = accepts,
    .destroy = destroy,
};
