/* monitor: packets, bytes, first and last sight of every 5-tuple; the one unseen for longest makes room. */
#include "memory.h"
#include "options.h"

#include <stdio.h>
#include <stdlib.h>

struct monitor {
    struct table_options options;
    struct table *table;
    uint64_t evicted_flows;
};

static void *create(void)
{
    struct monitor *self = zeroed(1, sizeof *self);
    self->options = (struct table_options){.entries = 16384, .timeout_ns = 300000000000u, .top = 10};
    return self;
}

static bool option(void *self_, const struct words *line, char *error)
{
    struct monitor *self = self_;
    return parse_table_option(line, &self->options, error);
}

static bool finish(void *self_, char *error)
{
    struct monitor *self = self_;
    (void)error;
    self->table = table_new(self->options.entries);
    return true;
}

static struct entry *add_flow(struct monitor *self, const struct flow *flow, uint64_t now_ns)
{
    static const struct flow none;
    table_expire(self->table, self->options.timeout_ns, now_ns);
    if (self->table->count == self->table->capacity) {
        table_remove(self->table, self->table->oldest);
        self->evicted_flows++;
    }
    return table_add(self->table, flow, &none, now_ns);
}

static enum verdict process(void *self_, struct packet *packet, uint64_t now_ns)
{
    struct monitor *self = self_;
    struct entry *entry = table_find(self->table, &packet->flow);
    if (entry == NULL)
        entry = add_flow(self, &packet->flow, now_ns);
    table_touch(self->table, entry, packet->length, now_ns);
    return FORWARD;
}

static void counters(void *self_, struct json *out, uint64_t now_ns)
{
    const struct monitor *self = self_;
    json_count(out, "evicted_flows", self->evicted_flows);
    table_to_json(self->table, out, self->options.top, now_ns);
}

static void adopt(void *self_, void *predecessor_)
{
    struct monitor *self = self_, *predecessor = predecessor_;
    if (self->options.entries != predecessor->options.entries)
        return;
    table_free(self->table);
    self->table = predecessor->table;
    predecessor->table = NULL;
}

static struct table *state(void *self_)
{
    struct monitor *self = self_;
    return self->table;
}

static size_t numbers(void *self_, uint64_t **at)
{
    struct monitor *self = self_;
    at[0] = &self->evicted_flows;
    return 1;
}

static void fits(void *self_, char *out)
{
    const struct monitor *self = self_;
    snprintf(out, FITS_BYTES, "entries=%zu", self->table->capacity);
}

static bool accepts(void *self, const struct flow *key, const struct flow *mapped)
{
    static const struct flow none;
    (void)self, (void)key;
    return flow_equal(mapped, &none);
}

static void destroy(void *self_)
{
    struct monitor *self = self_;
    table_free(self->table);
    free(self);
}

const struct function monitor = {
    .name = "monitor", .create = create, .option = option, .finish = finish, .adopt = adopt,
    .process = process, .counters = counters, .state = state, .numbers = numbers, .fits = fits, .accepts = accepts,
    .destroy = destroy,
};
