/* firewall: ordered rules, the first match decides, else the default. Stateless, unless told to `track on`: then what
 * belongs to a connection that was accepted once passes in both directions, whatever the rules say of it. */
#include "memory.h"
#include "options.h"

#include <stdio.h>
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
    bool track;
    struct table_options options;
    struct table *table; /* NULL unless `track` */
    uint64_t tracked_packets, evicted_flows;
};

static void *create(void)
{
    struct firewall *self = zeroed(1, sizeof *self);
    self->otherwise.accept = true;
    self->options = (struct table_options){.entries = 16384, .timeout_ns = 300000000000u, .top = 10};
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

static bool set_track(struct firewall *self, const struct words *line, char *error)
{
    if (!expect_words(line, 1, 1, error))
        return false;
    self->track = strcmp(line->word[1], "on") == 0;
    return self->track || strcmp(line->word[1], "off") == 0 || fail(error, "neither on nor off: %.40s", line->word[1]);
}

static bool option(void *self_, const struct words *line, char *error)
{
    struct firewall *self = self_;
    if (strcmp(line->word[0], "rule") == 0)
        return add_rule(self, line, error);
    if (strcmp(line->word[0], "default") == 0)
        return expect_words(line, 1, 1, error) && parse_accept(line->word[1], &self->otherwise.accept, error);
    if (strcmp(line->word[0], "track") == 0)
        return set_track(self, line, error);
    return parse_table_option(line, &self->options, error);
}

static bool finish(void *self_, char *error)
{
    struct firewall *self = self_;
    (void)error;
    if (self->track)
        self->table = table_new(self->options.entries);
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

/* Only what has ports (or an echo's identifier) can be told to belong to a connection. */
static bool is_trackable(const struct firewall *self, const struct packet *packet)
{
    return self->table != NULL && packet->l4 != NULL && !packet->fragment;
}

static struct flow reverse(const struct flow *flow)
{
    return (struct flow){.src = flow->dst, .src_port = flow->dst_port,
                         .dst = flow->src, .dst_port = flow->src_port, .proto = flow->proto};
}

static struct entry *find_connection(struct firewall *self, const struct flow *flow, uint64_t now_ns)
{
    struct entry *entry = table_find(self->table, flow);
    if (entry == NULL)
        entry = table_find_mapped(self->table, flow);
    if (entry == NULL || age_ns(entry->last_ns, now_ns) <= self->options.timeout_ns)
        return entry;
    table_remove(self->table, entry);
    return NULL;
}

static void add_connection(struct firewall *self, const struct packet *packet, uint64_t now_ns)
{
    const struct flow answer = reverse(&packet->flow);
    table_expire(self->table, self->options.timeout_ns, now_ns);
    if (self->table->count == self->table->capacity) {
        table_remove(self->table, self->table->oldest);
        self->evicted_flows++;
    }
    table_touch(self->table, table_add(self->table, &packet->flow, &answer, now_ns), packet->length, now_ns);
}

static enum verdict judge_by_rules(struct firewall *self, const struct packet *packet)
{
    struct rule *rule = self->rules, *end = self->rules + self->count;
    while (rule < end && !matches(rule, packet))
        rule++;
    if (rule == end)
        rule = &self->otherwise;
    rule->packets++;
    rule->bytes += packet->length;
    return rule->accept ? FORWARD : DROP;
}

static enum verdict process(void *self_, struct packet *packet, uint64_t now_ns)
{
    struct firewall *self = self_;
    const bool trackable = is_trackable(self, packet);
    struct entry *entry = trackable ? find_connection(self, &packet->flow, now_ns) : NULL;
    if (entry != NULL) {
        self->tracked_packets++;
        table_touch(self->table, entry, packet->length, now_ns);
        return FORWARD;
    }
    const enum verdict verdict = judge_by_rules(self, packet);
    if (trackable && verdict == FORWARD)
        add_connection(self, packet, now_ns);
    return verdict;
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
    json_begin(out, "rules", '[');
    for (size_t i = 0; i < self->count; i++)
        rule_to_json(&self->rules[i], out, NULL);
    json_end(out, ']');
    rule_to_json(&self->otherwise, out, "default");
    if (self->table == NULL)
        return;
    json_count(out, "tracked_packets", self->tracked_packets);
    json_count(out, "evicted_flows", self->evicted_flows);
    table_to_json(self->table, out, self->options.top, now_ns);
}

/* Connections go on under new rules: these are for new ones. */
static void adopt(void *self_, void *predecessor_)
{
    struct firewall *self = self_, *predecessor = predecessor_;
    if (!self->track || !predecessor->track || self->options.entries != predecessor->options.entries)
        return;
    table_free(self->table);
    self->table = predecessor->table;
    predecessor->table = NULL;
}

static struct table *state(void *self_)
{
    struct firewall *self = self_;
    return self->table;
}

static size_t numbers(void *self_, uint64_t **at)
{
    struct firewall *self = self_;
    size_t count = 0;
    at[count++] = &self->tracked_packets;
    at[count++] = &self->evicted_flows;
    for (size_t i = 0; i <= self->count; i++) {
        struct rule *rule = i < self->count ? &self->rules[i] : &self->otherwise;
        at[count++] = &rule->packets;
        at[count++] = &rule->bytes;
    }
    return count;
}

/* A word at a time, so that padding has no say. */
static uint64_t hash_rule(uint64_t hash, const struct rule *rule)
{
    const uint32_t words[] = {rule->accept, rule->proto, rule->src.address, rule->src.mask, rule->dst.address,
                              rule->dst.mask, (uint32_t)rule->ports.low << 16 | rule->ports.high};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        const struct flow link = {.src = (uint32_t)(hash >> 32), .dst = (uint32_t)hash ^ words[i], .src_port = (uint16_t)i};
        hash = flow_hash(&link);
    }
    return hash;
}

static void fits(void *self_, char *out)
{
    const struct firewall *self = self_;
    uint64_t hash = hash_rule(0, &self->otherwise);
    for (size_t i = 0; i < self->count; i++)
        hash = hash_rule(hash, &self->rules[i]);
    snprintf(out, FITS_BYTES, "rules=%zu/%016llx entries=%zu", self->count, (unsigned long long)hash,
             self->table->capacity);
}

static bool accepts(void *self, const struct flow *key, const struct flow *mapped)
{
    const struct flow answer = reverse(key);
    (void)self;
    return key->proto != 0 && flow_equal(mapped, &answer);
}

static void destroy(void *self_)
{
    struct firewall *self = self_;
    table_free(self->table);
    free(self);
}

const struct function firewall = {
    .name = "firewall", .create = create, .option = option, .finish = finish, .adopt = adopt,
    .process = process, .counters = counters, .state = state, .numbers = numbers, .fits = fits, .accepts = accepts,
    .destroy = destroy,
};
