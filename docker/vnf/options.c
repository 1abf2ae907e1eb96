#include "options.h"

#include "memory.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ENTRIES = 1 << 20, MAX_TOP = 1000, NS_PER_MS = 1000000 };

bool fail(char *error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error, ERROR_BYTES, format, arguments);
    va_end(arguments);
    return false;
}

bool expect_words(const struct words *line, int least, int most, char *error)
{
    const int given = line->count - 1;
    if (given >= least && given <= most)
        return true;
    if (least == most)
        return fail(error, "%s takes %d value%s, not %d", line->word[0], least, least == 1 ? "" : "s", given);
    return fail(error, "%s takes %d to %d values, not %d", line->word[0], least, most, given);
}

bool parse_count(const char *word, uint64_t least, uint64_t most, uint64_t *out, char *error)
{
    char *end;
    errno = 0;
    const unsigned long long value = strtoull(word, &end, 10);
    if (word[0] < '0' || word[0] > '9' || *end != '\0' || errno != 0 || value < least || value > most)
        return fail(error, "not a whole number from %llu to %llu: %.40s", (unsigned long long)least,
                    (unsigned long long)most, word);
    *out = value;
    return true;
}

bool parse_decimal(const char *word, double least, double most, double *out, char *error)
{
    char *end;
    const double value = strtod(word, &end);
    if (end == word || *end != '\0' || !(value >= least && value <= most))
        return fail(error, "not a number from %g to %g: %.40s", least, most, word);
    *out = value;
    return true;
}

bool parse_address(const char *word, uint32_t *out, char *error)
{
    struct in_addr address;
    if (inet_pton(AF_INET, word, &address) != 1)
        return fail(error, "not an IPv4 address: %.40s", word);
    *out = ntohl(address.s_addr);
    return true;
}

bool parse_prefix(const char *word, struct prefix *out, char *error)
{
    char address[20];
    uint64_t length = 32;
    *out = (struct prefix){0, 0};
    if (strcmp(word, "any") == 0)
        return true;
    const char *slash = strchr(word, '/');
    const size_t size = slash == NULL ? strlen(word) : (size_t)(slash - word);
    if (size >= sizeof address)
        return fail(error, "not an IPv4 prefix: %.40s", word);
    memcpy(address, word, size);
    address[size] = '\0';
    if (!parse_address(address, &out->address, error) || (slash && !parse_count(slash + 1, 0, 32, &length, error)))
        return fail(error, "not an IPv4 prefix: %.40s", word);
    out->mask = length == 0 ? 0 : UINT32_MAX << (32 - length);
    if ((out->address & ~out->mask) != 0)
        return fail(error, "address has bits outside its prefix: %.40s", word);
    return true;
}

bool parse_port_range(const char *word, struct port_range *out, char *error)
{
    char low_word[8];
    uint64_t low, high;
    *out = (struct port_range){0, UINT16_MAX};
    if (strcmp(word, "any") == 0)
        return true;
    const char *dash = strchr(word, '-');
    const size_t size = dash == NULL ? strlen(word) : (size_t)(dash - word);
    if (size >= sizeof low_word)
        return fail(error, "not a port or a range of ports: %.40s", word);
    memcpy(low_word, word, size);
    low_word[size] = '\0';
    if (!parse_count(low_word, 1, UINT16_MAX, &low, error) ||
        !parse_count(dash ? dash + 1 : low_word, low, UINT16_MAX, &high, error))
        return fail(error, "not a port or a range of ports: %.40s", word);
    *out = (struct port_range){(uint16_t)low, (uint16_t)high};
    return true;
}

bool parse_proto(const char *word, uint8_t *out, char *error)
{
    static const struct { const char *name; uint8_t proto; } known[] = {
        {"any", 0}, {"icmp", PROTO_ICMP}, {"tcp", PROTO_TCP}, {"udp", PROTO_UDP}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(word, known[i].name) == 0) {
            *out = known[i].proto;
            return true;
        }
    return fail(error, "not a protocol (any, icmp, tcp, udp): %.40s", word);
}

bool parse_accept(const char *word, bool *out, char *error)
{
    *out = strcmp(word, "accept") == 0;
    return *out || strcmp(word, "deny") == 0 || fail(error, "neither accept nor deny: %.40s", word);
}

bool parse_table_option(const struct words *line, struct table_options *out, char *error)
{
    const char *name = line->word[0];
    uint64_t seconds;
    const bool entries = strcmp(name, "entries") == 0, top = strcmp(name, "top") == 0;
    if (!entries && !top && strcmp(name, "timeout_s") != 0)
        return fail(error, "unknown option: %.40s", name);
    if (!expect_words(line, 1, 1, error))
        return false;
    if (entries)
        return parse_count(line->word[1], 1, MAX_ENTRIES, &out->entries, error);
    if (top)
        return parse_count(line->word[1], 0, MAX_TOP, &out->top, error);
    if (!parse_count(line->word[1], 1, 86400, &seconds, error))
        return false;
    out->timeout_ns = seconds * 1000 * NS_PER_MS;
    return true;
}

static void flow_to_json(const struct flow *flow, struct json *out, const char *name)
{
    json_begin(out, name, '{');
    json_count(out, "proto", flow->proto);
    json_address(out, "src", flow->src);
    json_count(out, "src_port", flow->src_port);
    json_address(out, "dst", flow->dst);
    json_count(out, "dst_port", flow->dst_port);
    json_end(out, '}');
}

static void entry_to_json(const struct entry *entry, struct json *out, uint64_t now_ns)
{
    json_begin(out, NULL, '{');
    flow_to_json(&entry->key, out, "flow");
    if (entry->mapped.proto != 0)
        flow_to_json(&entry->mapped, out, "answer");
    json_count(out, "packets", entry->packets);
    json_count(out, "bytes", entry->bytes);
    json_count(out, "first_ms_ago", age_ns(entry->first_ns, now_ns) / NS_PER_MS);
    json_count(out, "last_ms_ago", age_ns(entry->last_ns, now_ns) / NS_PER_MS);
    json_end(out, '}');
}

/* Puts an entry where it belongs in `best`, which is sorted by bytes, largest first. */
static size_t insert_best(const struct entry **best, size_t count, size_t top, const struct entry *entry)
{
    size_t at = count < top ? count++ : top;
    if (at == top && best[top - 1]->bytes >= entry->bytes)
        return count;
    at = at == top ? top - 1 : at;
    for (; at > 0 && best[at - 1]->bytes < entry->bytes; at--)
        best[at] = best[at - 1];
    best[at] = entry;
    return count;
}

void table_to_json(const struct table *table, struct json *out, size_t top, uint64_t now_ns)
{
    const struct entry **best = zeroed(top + 1, sizeof *best);
    size_t count = 0;
    for (const struct entry *entry = table->newest; entry != NULL && top > 0; entry = entry->older)
        count = insert_best(best, count, top, entry);
    json_count(out, "entries", table->count);
    json_begin(out, "flows", '[');
    for (size_t i = 0; i < count; i++)
        entry_to_json(best[i], out, now_ns);
    json_end(out, ']');
    free(best);
}
