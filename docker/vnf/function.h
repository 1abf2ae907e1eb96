/* The one interface between the packet loop and a network function. */
#ifndef VNF_FUNCTION_H
#define VNF_FUNCTION_H

#include "json.h"
#include "packet.h"
#include "table.h"

enum { ERROR_BYTES = 200, MAX_WORDS = 8, FITS_BYTES = 128, MAX_NUMBERS = 520 };

enum verdict { DROP, FORWARD };

/* One line of the configuration, split at blanks; word[0] is the option's name. */
struct words {
    int count;
    char *word[MAX_WORDS];
};

/* A function is created empty, takes its options line by line, is checked once by `finish`, may take the state of
 * its predecessor over, and then sees every IPv4 packet. `option` and `finish` write one line to `error` (ERROR_BYTES)
 * and return false when something is wrong. Time is an argument throughout (ns of CLOCK_MONOTONIC). */
struct function {
    const char *name;
    void *(*create)(void);
    bool (*option)(void *self, const struct words *line, char *error);
    bool (*finish)(void *self, char *error);
    void (*adopt)(void *self, void *predecessor);
    enum verdict (*process)(void *self, struct packet *packet, uint64_t now_ns);
    void (*counters)(void *self, struct json *out, uint64_t now_ns);
    struct table *(*state)(void *self); /* all that a move carries besides `numbers`; NULL: stateless */
    /* For a function with state. `numbers` gives the places of its own counters (at most MAX_NUMBERS, always the same
     * ones for the same configuration); `fits` writes what of the configuration two instances must have in common
     * (FITS_BYTES); `accepts` says whether an entry is one that this function could have made. */
    size_t (*numbers)(void *self, uint64_t **at);
    void (*fits)(void *self, char *out);
    bool (*accepts)(void *self, const struct flow *key, const struct flow *mapped);
    void (*destroy)(void *self);
};

extern const struct function firewall, nat, monitor, balancer;

#endif
