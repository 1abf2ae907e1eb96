/* firewall: ordered rules, the first match decides, else the default. Stateless. */
#include "memory.h"
#include "options.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_RULES = 256 };

struct rule {
    bool accept;
    uint8_t proto; /* 0: any */
    struct prefix src, dst;
    struct port_range ports;
    uint64_t packets, bytes;
};

struct firewall {
    size_t count;
    struct rule rules[MAX_RULES];
    struct rule otherwise;
};

static void *create(void)
{
    struct firewall *self = zeroed(1, sizeof *self);
    self->otherwise.accept = true;
    return self;
}

static bool add_rule(struct firewall *self, const struct words *line, char *error)
{
    if (!expect_words(line, 5, 5, error))
        return false;
    if (self->count == MAX_RULES)
        return fail(error, "more than %d rules", MAX_RULES);
    struct rule *rule = &self->rules[self->count++];
    return parse_accept(line->word[1], &rule->accept, error) && parse_proto(line->word[2], &rule->proto, error) &&
           parse_prefix(line->word[3], &rule->src, error) && parse_prefix(line->word[4], &rule->dst, error) &&
           parse_port_range(line->word[5], &rule->ports, error);
}

static bool option(void *self_, const struct words *line, char *error)
{
    struct firewall *self = self_;
    if (strcmp(line->word[0], "rule") == 0)
        return add_rule(self, line, error);
    if (strcmp(line->word[0], "default") == 0)
        return expect_words(line, 1, 1, error) && parse_accept(line->word[1], &self->otherwise.accept, error);
    return fail(error, "unknown option: %.40s", line->word[0]);
}

static bool finish(void *self, char *error)
{
    (void)self, (void)error;
    return true;
}

static bool within(uint32_t address, const struct prefix *prefix)
{
    return (address & prefix->mask) == prefix->address;
}

/* A rule with ports never matches a packet without them (a later fragment, another protocol). */
static bool matches(const struct rule *rule, const struct packet *packet)
{
    const struct flow *flow = &packet->flow;
    const bool any_port = rule->ports.low == 0;
    const bool has_port = packet->l4 != NULL && flow->proto != PROTO_ICMP;
    return (rule->proto == 0 || rule->proto == flow->proto) && within(flow->src, &rule->src) &&
           within(flow->dst, &rule->dst) &&
           (any_port || (has_port && flow->dst_port >= rule->ports.low && flow->dst_port <= rule->ports.high));
}

static enum verdict process(void *self_, struct packet *packet, uint64_t now_ns)
{
    struct firewall *self = self_;
    struct rule *rule = self->rules, *end = self->rules + self->count;
    (void)now_ns;
    while (rule < end && !matches(rule, packet))
        rule++;
    if (rule == end)
        rule = &self->otherwise;
    rule->packets++;
    rule->bytes += packet->length;
    return rule->accept ? FORWARD : DROP;
}

static void rule_to_json(const struct rule *rule, struct json *out, const char *name)
{
    json_begin(out, name, '{');
    json_string(out, "action", rule->accept ? "accept" : "deny");
    json_count(out, "packets", rule->packets);
    json_count(out, "bytes", rule->bytes);
    json_end(out, '}');
}

static void counters(void *self_, struct json *out, uint64_t now_ns)
{
    const struct firewall *self = self_;
    (void)now_ns;
    json_begin(out, "rules", '[');
    for (size_t i = 0; i < self->count; i++)
        rule_to_json(&self->rules[i], out, NULL);
    json_end(out, ']');
    rule_to_json(&self->otherwise, out, "default");
}

static void adopt(void *self, void *predecessor) { (void)self, (void)predecessor; }

static struct table *state(void *self)
{
    (void)self;
    return NULL;
}

const struct function firewall = {
    .name = "firewall", .create = create, .option = option, .finish = finish, .adopt = adopt,
    .process = process, .counters = counters, .state = state, .destroy = free,
};
