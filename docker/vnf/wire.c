#include "wire.h"

#include "memory.h"

#include <stdlib.h>
#include <string.h>

const char *trouble_name(enum trouble trouble)
{
    static const char *const names[TROUBLES] = {
        [FINE] = "", [LEFT] = "left", [WRONG_VERSION] = "wrong_version", [WRONG_FUNCTION] = "wrong_function",
        [WRONG_CONFIGURATION] = "wrong_configuration", [WRONG_ROLE] = "wrong_role",
        [UNAUTHENTICATED] = "unauthenticated", [MALFORMED] = "malformed", [TRUNCATED] = "truncated",
        [DIGEST_MISMATCH] = "digest_mismatch", [TABLE_FULL] = "table_full", [NO_SESSION] = "no_session",
        [NOT_IN_SYNC] = "not_in_sync", [NOT_READY] = "not_ready", [TIMEOUT] = "timeout", [PEER_GONE] = "peer_gone",
    };
    return trouble < TROUBLES ? names[trouble] : "malformed";
}

const uint8_t *read_bytes(struct reader *reader, size_t bytes)
{
    const uint8_t *at = reader->at;
    if (reader->bad || reader->left < bytes) {
        reader->bad = true;
        return NULL;
    }
    reader->at += bytes;
    reader->left -= bytes;
    return at;
}

uint64_t read_number(struct reader *reader, size_t bytes)
{
    uint64_t value = 0;
    const uint8_t *at = read_bytes(reader, bytes);
    for (size_t i = 0; at != NULL && i < bytes; i++)
        value = value << 8 | at[i];
    return value;
}

struct flow read_flow(struct reader *reader)
{
    struct flow flow = {0};
    flow.src = (uint32_t)read_number(reader, 4);
    flow.dst = (uint32_t)read_number(reader, 4);
    flow.src_port = (uint16_t)read_number(reader, 2);
    flow.dst_port = (uint16_t)read_number(reader, 2);
    flow.proto = (uint8_t)read_number(reader, 1);
    return flow;
}

bool reader_done(const struct reader *reader) { return !reader->bad && reader->left == 0; }

void write_bytes(struct writer *writer, const void *from, size_t bytes)
{
    if ((size_t)(writer->end - writer->at) < bytes)
        abort();
    if (bytes > 0)
        memcpy(writer->at, from, bytes);
    writer->at += bytes;
}

void write_number(struct writer *writer, uint64_t value, size_t bytes)
{
    uint8_t digits[8];
    for (size_t i = 0; i < bytes; i++)
        digits[i] = (uint8_t)(value >> 8 * (bytes - 1 - i));
    write_bytes(writer, digits, bytes);
}

void write_flow(struct writer *writer, const struct flow *flow)
{
    write_number(writer, flow->src, 4);
    write_number(writer, flow->dst, 4);
    write_number(writer, flow->src_port, 2);
    write_number(writer, flow->dst_port, 2);
    write_number(writer, flow->proto, 1);
}

void buffer_init(struct buffer *buffer, size_t capacity)
{
    *buffer = (struct buffer){.bytes = zeroed(capacity, 1), .capacity = capacity};
}

void buffer_free(struct buffer *buffer)
{
    free(buffer->bytes);
    *buffer = (struct buffer){0};
}

size_t buffer_pending(const struct buffer *buffer) { return buffer->end - buffer->start; }

uint8_t *buffer_reserve(struct buffer *buffer, size_t bytes)
{
    if (buffer->capacity - buffer->end < bytes && buffer->start > 0) {
        memmove(buffer->bytes, buffer->bytes + buffer->start, buffer_pending(buffer));
        buffer->end -= buffer->start;
        buffer->start = 0;
    }
    return buffer->capacity - buffer->end < bytes ? NULL : buffer->bytes + buffer->end;
}

bool buffer_append(struct buffer *buffer, enum kind kind, const void *body, size_t bytes)
{
    uint8_t *at = buffer_reserve(buffer, HEADER_BYTES + bytes);
    if (at == NULL)
        return false;
    struct writer writer = {at, at + HEADER_BYTES + bytes};
    write_number(&writer, bytes, 4);
    write_number(&writer, kind, 1);
    write_bytes(&writer, body, bytes);
    buffer->end += HEADER_BYTES + bytes;
    return true;
}

int buffer_take(struct buffer *buffer, enum kind *kind, struct reader *body)
{
    struct reader header = {buffer->bytes + buffer->start, buffer_pending(buffer), false};
    const size_t bytes = read_number(&header, 4);
    *kind = (enum kind)read_number(&header, 1);
    if (header.bad)
        return 0;
    if (bytes > MAX_BODY || *kind < HELLO || *kind > BYE)
        return -1;
    if (header.left < bytes)
        return 0;
    *body = (struct reader){header.at, bytes, false};
    buffer->start += HEADER_BYTES + bytes;
    return 1;
}
