#include "json.h"

#include "memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void reserve(struct json *json, size_t more)
{
    if (json->length + more < json->capacity)
        return;
    const size_t capacity = (json->length + more) * 2 + 256;
    char *text = zeroed(capacity, 1);
    if (json->text != NULL)
        memcpy(text, json->text, json->length);
    free(json->text);
    json->text = text;
    json->capacity = capacity;
}

__attribute__((format(printf, 2, 3))) static void append(struct json *json, const char *format, ...)
{
    char piece[128];
    va_list arguments;
    va_start(arguments, format);
    const int wanted = vsnprintf(piece, sizeof piece, format, arguments);
    va_end(arguments);
    const size_t length = (size_t)wanted < sizeof piece ? (size_t)wanted : sizeof piece - 1;
    reserve(json, length + 1);
    memcpy(json->text + json->length, piece, length + 1);
    json->length += length;
}

static void member(struct json *json, const char *name)
{
    if (json->comma)
        append(json, ",");
    if (name != NULL)
        append(json, "\"%s\":", name);
    json->comma = true;
}

void json_begin(struct json *json, const char *name, char bracket)
{
    member(json, name);
    append(json, "%c", bracket);
    json->comma = false;
}

void json_end(struct json *json, char bracket)
{
    append(json, "%c", bracket);
    json->comma = true;
}

void json_count(struct json *json, const char *name, uint64_t value)
{
    member(json, name);
    append(json, "%llu", (unsigned long long)value);
}

void json_number(struct json *json, const char *name, double value)
{
    member(json, name);
    append(json, "%.6f", value);
}

void json_bool(struct json *json, const char *name, bool value)
{
    member(json, name);
    append(json, value ? "true" : "false");
}

void json_string(struct json *json, const char *name, const char *value)
{
    member(json, name);
    append(json, "\"");
    for (; *value != '\0'; value++) {
        const unsigned char c = (unsigned char)*value;
        if (c < 32 || c > 126 || c == '"' || c == '\\')
            append(json, "\\u%04x", c);
        else
            append(json, "%c", c);
    }
    append(json, "\"");
}

void json_address(struct json *json, const char *name, uint32_t address)
{
    char text[16];
    snprintf(text, sizeof text, "%u.%u.%u.%u", address >> 24, address >> 16 & 255, address >> 8 & 255, address & 255);
    json_string(json, name, text);
}

void json_free(struct json *json)
{
    free(json->text);
    memset(json, 0, sizeof *json);
}
