/* balancer: gives each flow one of the backends by rendezvous hashing (a change of backends moves only the flows of
 * the changed ones), rewrites the destination, and rewrites the answers' source back. */
#include "memory.h"
#include "options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_BACKENDS = 64 };

struct backend {
    uint32_t address;
    uint64_t packets, bytes;
};

struct balancer {
    uint32_t virtual_address; /* 0: every destination is balanced */
    size_t count;
    struct backend backends[MAX_BACKENDS];
    struct table_options options;
    struct table *table;
    uint64_t fragment_packets, evicted_flows;
};

static void *create(void)
{
    struct balancer *self = zeroed(1, sizeof *self);
    self->options = (struct table_options){.entries = 16384, .timeout_ns = 300000000000u, .top = 10};
    return self;
}

static struct backend *find_backend(struct balancer *self, uint32_t address)
{
    for (size_t i = 0; i < self->count; i++)
        if (self->backends[i].address == address)
            return &self->backends[i];
    return NULL;
}

static bool add_backend(struct balancer *self, const struct words *line, char *error)
{
    uint32_t address;
    if (!expect_words(line, 1, 1, error) || !parse_address(line->word[1], &address, error))
        return false;
    if (find_backend(self, address) != NULL)
        return fail(error, "backend given twice: %s", line->word[1]);
    if (self->count == MAX_BACKENDS)
        return fail(error, "more than %d backends", MAX_BACKENDS);
    self->backends[self->count++].address = address;
    return true;
}

static bool option(void *self_, const struct words *line, char *error)
{
    struct balancer *self = self_;
    if (strcmp(line->word[0], "backend") == 0)
        return add_backend(self, line, error);
    if (strcmp(line->word[0], "virtual") == 0)
        return expect_words(line, 1, 1, error) && parse_address(line->word[1], &self->virtual_address, error);
    return parse_table_option(line, &self->options, error);
}

static bool finish(void *self_, char *error)
{
    struct balancer *self = self_;
    if (self->count == 0)
        return fail(error, "balancer needs at least one backend (backend A.B.C.D)");
    self->table = table_new(self->options.entries);
    return true;
}

/* Highest random weight: the backend whose hash together with the flow's is the largest. */
static uint32_t choose_backend(const struct balancer *self, const struct flow *flow)
{
    uint64_t best_weight = 0;
    uint32_t best = self->backends[0].address;
    const uint64_t hash = flow_hash(flow);
    for (size_t i = 0; i < self->count; i++) {
        const struct flow pair = {.src = (uint32_t)(hash >> 32), .dst = (uint32_t)hash ^ self->backends[i].address};
        const uint64_t weight = flow_hash(&pair);
        if (weight > best_weight) {
            best_weight = weight;
            best = self->backends[i].address;
        }
    }
    return best;
}

static struct entry *add_flow(struct balancer *self, const struct flow *flow, uint64_t now_ns)
{
    const struct flow answer = {.src = choose_backend(self, flow), .src_port = flow->dst_port,
                                .dst = flow->src, .dst_port = flow->src_port, .proto = flow->proto};
    table_expire(self->table, self->options.timeout_ns, now_ns);
    if (self->table->count == self->table->capacity) {
        table_remove(self->table, self->table->oldest);
        self->evicted_flows++;
    }
    return table_add(self->table, flow, &answer, now_ns);
}

static enum verdict balance(struct balancer *self, struct packet *packet, uint64_t now_ns)
{
    struct entry *entry = table_find(self->table, &packet->flow);
    if (entry == NULL)
        entry = add_flow(self, &packet->flow, now_ns);
    struct backend *backend = find_backend(self, entry->mapped.src);
    table_touch(self->table, entry, packet->length, now_ns);
    packet_set_destination(packet, backend->address, packet->flow.dst_port);
    backend->packets++;
    backend->bytes += packet->length;
    return FORWARD;
}

static enum verdict process(void *self_, struct packet *packet, uint64_t now_ns)
{
    struct balancer *self = self_;
    const struct flow *flow = &packet->flow;
    struct entry *answered = table_find_mapped(self->table, flow);
    if (packet->fragment) {
        self->fragment_packets++;
        return DROP;
    }
    if (answered != NULL) {
        table_touch(self->table, answered, packet->length, now_ns);
        packet_set_source(packet, answered->key.dst, answered->key.dst_port);
        return FORWARD;
    }
    const bool balanced = self->virtual_address == 0 ? find_backend(self, flow->src) == NULL
                                                     : flow->dst == self->virtual_address;
    return balanced ? balance(self, packet, now_ns) : FORWARD;
}

static void counters(void *self_, struct json *out, uint64_t now_ns)
{
    const struct balancer *self = self_;
    json_count(out, "fragment_packets", self->fragment_packets);
    json_count(out, "evicted_flows", self->evicted_flows);
    json_begin(out, "backends", '[');
    for (size_t i = 0; i < self->count; i++) {
        json_begin(out, NULL, '{');
        json_address(out, "address", self->backends[i].address);
        json_count(out, "packets", self->backends[i].packets);
        json_count(out, "bytes", self->backends[i].bytes);
        json_end(out, '}');
    }
    json_end(out, ']');
    table_to_json(self->table, out, self->options.top, now_ns);
}

/* Flows keep their backend as long as it is still one. */
static void adopt(void *self_, void *predecessor_)
{
    struct balancer *self = self_, *predecessor = predecessor_;
    if (self->options.entries != predecessor->options.entries)
        return;
    table_free(self->table);
    self->table = predecessor->table;
    predecessor->table = NULL;
    struct entry *newer;
    for (struct entry *entry = self->table->oldest; entry != NULL; entry = newer) {
        newer = entry->newer;
        if (find_backend(self, entry->mapped.src) == NULL)
            table_remove(self->table, entry);
    }
}

static struct table *state(void *self_)
{
    struct balancer *self = self_;
    return self->table;
}

static size_t numbers(void *self_, uint64_t **at)
{
    struct balancer *self = self_;
    size_t count = 0;
    at[count++] = &self->fragment_packets;
    at[count++] = &self->evicted_flows;
    for (size_t i = 0; i < self->count; i++) {
        at[count++] = &self->backends[i].packets;
        at[count++] = &self->backends[i].bytes;
    }
    return count;
}

static void fits(void *self_, char *out)
{
    const struct balancer *self = self_;
    uint64_t hash = 0; /* of the backends, in their order: their counters are told by it */
    for (size_t i = 0; i < self->count; i++) {
        const struct flow link = {.src = (uint32_t)(hash >> 32), .dst = (uint32_t)hash ^ self->backends[i].address};
        hash = flow_hash(&link);
    }
    snprintf(out, FITS_BYTES, "virtual=%08x backends=%zu/%016llx entries=%zu", self->virtual_address, self->count,
             (unsigned long long)hash, self->table->capacity);
}

static bool accepts(void *self_, const struct flow *key, const struct flow *mapped)
{
    const struct flow answer = {.src = mapped->src, .src_port = key->dst_port,
                                .dst = key->src, .dst_port = key->src_port, .proto = key->proto};
    return flow_equal(mapped, &answer) && find_backend(self_, mapped->src) != NULL;
}

static void destroy(void *self_)
{
    struct balancer *self = self_;
    table_free(self->table);
    free(self);
}

const struct function balancer = {
    .name = "balancer", .create = create, .option = option, .finish = finish, .adopt = adopt,
    .process = process, .counters = counters, .state = state, .numbers = numbers, .fits = fits, .accepts = accepts,
    .destroy = destroy,
};
