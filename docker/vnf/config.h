/* The configuration: lines of `option value…`, `#` begins a comment, the first option is `function NAME`. */
#ifndef VNF_CONFIG_H
#define VNF_CONFIG_H

#include "function.h"

struct config {
    const struct function *function;
    void *self;         /* the function's own */
    double work_us;     /* extra CPU time per forwarded or dropped IPv4 packet */
    bool deny_non_ipv4; /* `non_ipv4 deny`: ARP, IPv6 … are dropped, not passed on */
};

/* False, with one line in `error` that begins with the line's number, and nothing kept, when a line is wrong.
 * `text` is cut up. */
bool config_parse(char *text, struct config *out, char *error);
void config_free(struct config *config);
/* The whole file, to be freed; NULL with one line in `error`. */
char *config_read(const char *path, char *error);
/* The decoded text, to be freed; NULL with one line in `error`. */
char *config_decode(const char *base64, char *error);

#endif
