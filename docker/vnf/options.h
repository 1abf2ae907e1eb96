/* Words of the configuration as values. Each returns false, with one line in `error`, for a word that is none. */
#ifndef VNF_OPTIONS_H
#define VNF_OPTIONS_H

#include "function.h"

struct prefix {
    uint32_t address, mask; /* host byte order */
};

struct port_range {
    uint16_t low, high;
};

/* What the table-keeping functions have in common. */
struct table_options {
    uint64_t entries, timeout_ns, top;
};

bool fail(char *error, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool expect_words(const struct words *line, int least, int most, char *error);
bool parse_count(const char *word, uint64_t least, uint64_t most, uint64_t *out, char *error);
bool parse_decimal(const char *word, double least, double most, double *out, char *error);
bool parse_address(const char *word, uint32_t *out, char *error);
bool parse_prefix(const char *word, struct prefix *out, char *error);       /* "any", A, or A/LENGTH */
bool parse_port_range(const char *word, struct port_range *out, char *error);    /* "any", N, or N-M */
bool parse_proto(const char *word, uint8_t *out, char *error);              /* "any" is 0 */
bool parse_accept(const char *word, bool *out, char *error);                /* "accept" or "deny" */
/* `entries N`, `timeout_s N`, `top N`; anything else is an unknown option. */
bool parse_table_option(const struct words *line, struct table_options *out, char *error);

/* The `top` entries by bytes, as an array of objects with ages in ms. */
void table_to_json(const struct table *table, struct json *out, size_t top, uint64_t now_ns);

#endif
