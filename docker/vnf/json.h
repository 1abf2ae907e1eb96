/* A growing line of JSON. */
#ifndef VNF_JSON_H
#define VNF_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json {
    char *text;
    size_t length, capacity;
    bool comma; /* the next member needs one before it */
};

void json_begin(struct json *json, const char *name, char bracket); /* name NULL: unnamed; bracket '{' or '[' */
void json_end(struct json *json, char bracket);                     /* '}' or ']' */
void json_count(struct json *json, const char *name, uint64_t value);
void json_number(struct json *json, const char *name, double value);
void json_bool(struct json *json, const char *name, bool value);
void json_string(struct json *json, const char *name, const char *value);
void json_address(struct json *json, const char *name, uint32_t address);
void json_free(struct json *json);

#endif
