/* The records of a hand-over as bytes (docs/handover.md): a header of length (4) and kind (1), then the body. Numbers
 * are big-endian. A reader never goes past its end: it turns `bad` and gives zeros. */
#ifndef VNF_WIRE_H
#define VNF_WIRE_H

#include "packet.h"

enum { HAND_OVER_VERSION = 1, HEADER_BYTES = 5, MAX_BODY = 16384, NONCE_BYTES = 32, PROOF_BYTES = 32 };

enum kind {
    HELLO = 1, PROOF, START, PUT, REMOVE, ROUND, ACK, FREEZE, READY, REFUSE, COMMIT, CANCEL, ACTIVE, FRAME, BYE,
};

/* Why a hand-over failed; their numbers are on the wire. */
enum trouble {
    FINE, LEFT, WRONG_VERSION, WRONG_FUNCTION, WRONG_CONFIGURATION, WRONG_ROLE, UNAUTHENTICATED, MALFORMED, TRUNCATED,
    DIGEST_MISMATCH, TABLE_FULL, NO_SESSION, NOT_IN_SYNC, NOT_READY, TIMEOUT, PEER_GONE, TROUBLES,
};

const char *trouble_name(enum trouble trouble);

struct reader {
    const uint8_t *at;
    size_t left;
    bool bad;
};

uint64_t read_number(struct reader *reader, size_t bytes);
/* Points into the record; NULL when there are not that many. */
const uint8_t *read_bytes(struct reader *reader, size_t bytes);
struct flow read_flow(struct reader *reader);
/* Nothing bad, nothing left. */
bool reader_done(const struct reader *reader);

/* Written front to back; going past the end is the caller's bug, and ends the program. */
struct writer {
    uint8_t *at, *end;
};

void write_number(struct writer *writer, uint64_t value, size_t bytes);
void write_bytes(struct writer *writer, const void *from, size_t bytes);
void write_flow(struct writer *writer, const struct flow *flow);

/* Bytes that wait: [start, end) of `bytes`. */
struct buffer {
    uint8_t *bytes;
    size_t start, end, capacity;
};

void buffer_init(struct buffer *buffer, size_t capacity);
void buffer_free(struct buffer *buffer);
/* The first `bytes` of the free end, after moving what waits to the front if need be; NULL: does not fit. */
uint8_t *buffer_reserve(struct buffer *buffer, size_t bytes);
size_t buffer_pending(const struct buffer *buffer);
/* A whole record; false: does not fit. */
bool buffer_append(struct buffer *buffer, enum kind kind, const void *body, size_t bytes);

/* The first whole record that waits: its kind and body, which stays in place until the buffer is written to.
 * 0: none yet; -1: what is there can be none. */
int buffer_take(struct buffer *buffer, enum kind *kind, struct reader *body);

#endif
