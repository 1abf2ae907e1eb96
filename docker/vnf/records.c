#include "records.h"

#include "clock.h"
#include "greeting.h"
#include "options.h"

#include <string.h>

void record_send(struct session *session, enum kind kind, const void *body, size_t bytes)
{
    buffer_append(&session->out, kind, body, bytes);
}

void record_send_number(struct session *session, enum kind kind, uint64_t value, size_t bytes)
{
    uint8_t body[8];
    struct writer writer = {body, body + sizeof body};
    write_number(&writer, value, bytes);
    record_send(session, kind, body, bytes);
}

static enum trouble on_hello(struct vnf *vnf, struct reader *body, char *detail)
{
    struct session *session = &vnf->session;
    char fits[FITS_BYTES];
    uint8_t proof[PROOF_BYTES];
    if (session->phase != GREETING || body->left > HELLO_BYTES)
        return MALFORMED;
    session->theirs.length = body->left;
    memcpy(session->theirs.body, body->at, body->left);
    vnf->config.function->fits(vnf->config.self, fits);
    const enum trouble trouble = greeting_check(session, vnf->config.function, fits, detail);
    if (trouble != FINE)
        return trouble;
    greeting_prove(session, session->role, proof);
    record_send(session, PROOF, proof, sizeof proof);
    session->phase = PROVING;
    return FINE;
}

static void begin_copy(struct vnf *vnf, uint64_t now_ns)
{
    struct session *session = &vnf->session;
    uint8_t key[DIGEST_KEY_BYTES];
    greeting_digest_key(session, key);
    session->copy = copy_begin(vnf_table(vnf), key, now_ns);
    session->started = true;
}

static enum trouble on_proof(struct vnf *vnf, struct reader *body, uint64_t now_ns)
{
    struct session *session = &vnf->session;
    const uint8_t *proof = read_bytes(body, PROOF_BYTES);
    if (session->phase != PROVING || !reader_done(body))
        return MALFORMED;
    if (!greeting_verify(session, proof))
        return UNAUTHENTICATED;
    session->phase = RUNNING;
    if (session->role == OWNER) {
        begin_copy(vnf, now_ns);
        record_send(session, START, NULL, 0);
    }
    return FINE;
}

static enum trouble on_start(struct vnf *vnf, struct reader *body, uint64_t now_ns)
{
    const struct session *session = &vnf->session;
    if (session->role != HEIR || session->started || !reader_done(body))
        return MALFORMED;
    table_clear(vnf_table(vnf)); /* what an earlier session may have left */
    begin_copy(vnf, now_ns);
    return FINE;
}

/* The heir has had what was to be told when the round began; after the first one it has a whole copy. */
static enum trouble on_round(struct vnf *vnf, struct reader *body)
{
    struct session *session = &vnf->session;
    session->rounds = read_number(body, 8);
    session->complete = true;
    return reader_done(body) ? FINE : MALFORMED;
}

static enum trouble on_ack(struct session *session, struct reader *body)
{
    const uint64_t total = read_number(body, 8);
    if (!reader_done(body) || total < session->acknowledged || total > session->sent)
        return MALFORMED;
    session->acknowledged = total;
    return FINE;
}

void record_send_freeze(struct vnf *vnf)
{
    struct session *session = &vnf->session;
    uint64_t *numbers[MAX_NUMBERS];
    uint8_t body[4 + 8 + 16 + 2 + MAX_NUMBERS * 8];
    struct writer writer = {body, body + sizeof body};
    const size_t count = vnf->config.function->numbers(vnf->config.self, numbers);
    write_number(&writer, ++session->attempt, 4);
    write_number(&writer, session->copy->table->count, 8);
    write_number(&writer, session->copy->digest[0], 8);
    write_number(&writer, session->copy->digest[1], 8);
    write_number(&writer, count, 2);
    for (size_t i = 0; i < count; i++)
        write_number(&writer, *numbers[i], 8);
    record_send(session, FREEZE, body, (size_t)(writer.at - body));
    memcpy(session->last_digest, session->copy->digest, sizeof session->last_digest);
}

static void refuse(struct session *session, enum trouble trouble)
{
    uint8_t body[5];
    struct writer writer = {body, body + sizeof body};
    write_number(&writer, session->attempt, 4);
    write_number(&writer, trouble, 1);
    record_send(session, REFUSE, body, sizeof body);
}

/* The counters wait for COMMIT: a freeze may be cancelled. */
static enum trouble read_numbers(struct vnf *vnf, struct reader *body)
{
    struct session *session = &vnf->session;
    uint64_t *numbers[MAX_NUMBERS];
    session->number_count = read_number(body, 2);
    if (session->number_count != vnf->config.function->numbers(vnf->config.self, numbers))
        return MALFORMED;
    for (size_t i = 0; i < session->number_count; i++)
        session->numbers[i] = read_number(body, 8);
    return reader_done(body) ? FINE : MALFORMED;
}

static enum trouble on_freeze(struct vnf *vnf, struct reader *body, char *detail)
{
    struct session *session = &vnf->session;
    const struct copy *copy = session->copy;
    session->attempt = (uint32_t)read_number(body, 4);
    const uint64_t count = read_number(body, 8), first = read_number(body, 8), second = read_number(body, 8);
    if (!session->complete || read_numbers(vnf, body) != FINE)
        return MALFORMED;
    if (count != copy->table->count || first != copy->digest[0] || second != copy->digest[1]) {
        refuse(session, DIGEST_MISMATCH);
        fail(detail, "%zu entries here, %llu there", copy->table->count, (unsigned long long)count);
        return DIGEST_MISMATCH;
    }
    if (!vnf->port.up) {
        refuse(session, NOT_READY);
        return FINE;
    }
    memcpy(session->last_digest, copy->digest, sizeof session->last_digest);
    session->phase = HOLDING;
    record_send_number(session, READY, session->attempt, 4);
    return FINE;
}

/* From here on the heir serves, as soon as it reads this. While it has not said so nothing else is sent to it, so that
 * its end leaves us where we were. */
static enum trouble on_ready(struct vnf *vnf, struct reader *body)
{
    struct session *session = &vnf->session;
    const uint32_t attempt = (uint32_t)read_number(body, 4);
    if (!reader_done(body) || attempt > session->attempt)
        return MALFORMED;
    if (session->phase != FREEZING || attempt != session->attempt)
        return FINE; /* cancelled meanwhile */
    record_send_number(session, COMMIT, attempt, 4);
    session->phase = COMMITTED;
    vnf->active = false;
    return FINE;
}

static enum trouble on_refuse(struct session *session, struct reader *body)
{
    const uint32_t attempt = (uint32_t)read_number(body, 4);
    const enum trouble trouble = (enum trouble)read_number(body, 1);
    if (!reader_done(body) || attempt > session->attempt)
        return MALFORMED;
    if (session->phase == FREEZING && attempt == session->attempt) {
        session->phase = RUNNING;
        session->refused = trouble;
    }
    return FINE;
}

static enum trouble on_commit(struct vnf *vnf, struct reader *body)
{
    struct session *session = &vnf->session;
    uint64_t *numbers[MAX_NUMBERS];
    if (session->phase != HOLDING || read_number(body, 4) != session->attempt || !reader_done(body))
        return MALFORMED;
    vnf->config.function->numbers(vnf->config.self, numbers);
    for (size_t i = 0; i < session->number_count; i++)
        *numbers[i] = session->numbers[i];
    session->role = OWNER;
    session->phase = RUNNING;
    session->peer_tunnels = true;
    session->round_open = false;
    vnf->active = true;
    record_send_number(session, ACTIVE, session->attempt, 4);
    return FINE;
}

static enum trouble on_cancel(struct session *session, struct reader *body)
{
    const uint32_t attempt = (uint32_t)read_number(body, 4);
    if (!reader_done(body) || attempt != session->attempt)
        return MALFORMED;
    if (session->phase == HOLDING)
        session->phase = RUNNING; /* else it was refused meanwhile */
    return FINE;
}

static enum trouble on_active(struct session *session, struct reader *body)
{
    if (session->phase != COMMITTED || read_number(body, 4) != session->attempt || !reader_done(body))
        return MALFORMED;
    session->role = HEIR;
    session->phase = RUNNING;
    session->was_owner = session->complete = true;
    session->freeze_us = (clock_ns() - session->freeze_began_ns) / 1000;
    held_send_back(session);
    return FINE;
}

static enum trouble on_frame(struct vnf *vnf, struct reader *body, uint64_t now_ns)
{
    struct session *session = &vnf->session;
    struct frame frame = {(uint8_t *)body->at, body->left, true}; /* in our own buffer, to be rewritten there */
    if (session->role != OWNER || !session->peer_tunnels || body->left > FRAME_BYTES)
        return MALFORMED;
    session->tunnelled_packets++;
    if (session->phase == RUNNING)
        vnf_deliver(vnf, &frame, now_ns);
    else if (!buffer_append(&session->held, FRAME, frame.bytes, frame.length))
        vnf->unsent_packets++;
    return FINE;
}

static enum trouble on_bye(struct reader *body, char *detail)
{
    const enum trouble trouble = (enum trouble)read_number(body, 1);
    fail(detail, "said by the peer");
    return reader_done(body) && trouble > FINE && trouble < TROUBLES ? trouble : MALFORMED;
}

/* Records that the heir gets, and only while it is neither unknown to the owner nor holding. */
static enum trouble handle_as_heir(struct vnf *vnf, enum kind kind, struct reader *body, uint64_t now_ns, char *detail)
{
    struct session *session = &vnf->session;
    if (kind == START)
        return session->phase == RUNNING ? on_start(vnf, body, now_ns) : MALFORMED;
    if (session->role != HEIR || session->phase != RUNNING || !session->started)
        return MALFORMED;
    switch (kind) {
    case PUT: return copy_put(session->copy, vnf->config.function, vnf->config.self, body, &session->taken);
    case REMOVE: return copy_remove(session->copy, body, &session->taken);
    case ROUND: return on_round(vnf, body);
    default: return on_freeze(vnf, body, detail);
    }
}

enum trouble record_handle(struct vnf *vnf, enum kind kind, struct reader *body, uint64_t now_ns, char *detail)
{
    struct session *session = &vnf->session;
    detail[0] = '\0';
    switch (kind) {
    case HELLO: return on_hello(vnf, body, detail);
    case PROOF: return on_proof(vnf, body, now_ns);
    case BYE: return on_bye(body, detail);
    case START: case PUT: case REMOVE: case ROUND: case FREEZE:
        return handle_as_heir(vnf, kind, body, now_ns, detail);
    default: break;
    }
    if (!session->started)
        return MALFORMED;
    switch (kind) {
    case ACK: return on_ack(session, body);
    case READY: return on_ready(vnf, body);
    case REFUSE: return on_refuse(session, body);
    case COMMIT: return on_commit(vnf, body);
    case CANCEL: return on_cancel(session, body);
    case ACTIVE: return on_active(session, body);
    default: return on_frame(vnf, body, now_ns);
    }
}
