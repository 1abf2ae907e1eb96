#include "greeting.h"

#include "options.h"

#include <sodium.h>
#include <string.h>

static const char magic[4] = {'V', 'N', 'F', 'H'};
static const char proof_label[] = "vnftwin hand-over proof", digest_label[] = "vnftwin hand-over digest";

void greeting_write(struct session *session, const struct function *function, const char *fits)
{
    struct writer writer = {session->mine.body, session->mine.body + HELLO_BYTES};
    uint8_t nonce[NONCE_BYTES];
    randombytes_buf(nonce, sizeof nonce);
    write_bytes(&writer, magic, sizeof magic);
    write_number(&writer, HAND_OVER_VERSION, 2);
    write_number(&writer, session->role, 1);
    write_bytes(&writer, nonce, sizeof nonce);
    write_number(&writer, strlen(function->name), 1);
    write_bytes(&writer, function->name, strlen(function->name));
    write_number(&writer, strlen(fits), 1);
    write_bytes(&writer, fits, strlen(fits));
    session->mine.length = (size_t)(writer.at - session->mine.body);
}

static bool is_text(const uint8_t *bytes, size_t length, const char *text)
{
    return length == strlen(text) && memcmp(bytes, text, length) == 0;
}

/* What a peer said, for people: nothing that would disturb a line. */
static const char *printable(const uint8_t *bytes, size_t length)
{
    static char text[81];
    size_t count = 0;
    for (; count < length && count < sizeof text - 1; count++)
        text[count] = bytes[count] < 32 || bytes[count] > 126 ? '?' : (char)bytes[count];
    text[count] = '\0';
    return text;
}

static enum trouble check_rest(const struct session *session, const struct function *function, const char *fits,
                               struct reader *reader, char *detail)
{
    const uint64_t role = read_number(reader, 1);
    read_bytes(reader, NONCE_BYTES);
    const size_t name_bytes = read_number(reader, 1);
    const uint8_t *name = read_bytes(reader, name_bytes);
    const size_t fits_bytes = read_number(reader, 1);
    const uint8_t *their_fits = read_bytes(reader, fits_bytes);
    if (!reader_done(reader) || (role != OWNER && role != HEIR))
        return MALFORMED;
    if (!is_text(name, name_bytes, function->name)) {
        fail(detail, "mine is %s, the peer's %.80s", function->name, printable(name, name_bytes));
        return WRONG_FUNCTION;
    }
    if (!is_text(their_fits, fits_bytes, fits)) {
        fail(detail, "mine has %s, the peer's %.80s", fits, printable(their_fits, fits_bytes));
        return WRONG_CONFIGURATION;
    }
    if (role == session->role) {
        fail(detail, "both %s", role == OWNER ? "forward" : "stand by");
        return WRONG_ROLE;
    }
    return FINE;
}

enum trouble greeting_check(const struct session *session, const struct function *function, const char *fits,
                            char *detail)
{
    struct reader reader = {session->theirs.body, session->theirs.length, false};
    const uint8_t *begin = read_bytes(&reader, sizeof magic);
    const uint64_t version = read_number(&reader, 2);
    if (reader.bad || memcmp(begin, magic, sizeof magic) != 0)
        return MALFORMED;
    if (version != HAND_OVER_VERSION) {
        fail(detail, "mine is %d, the peer's %u", HAND_OVER_VERSION, (unsigned)version);
        return WRONG_VERSION;
    }
    return check_rest(session, function, fits, &reader, detail);
}

static void authenticate(const struct session *session, const char *label, enum role prover, uint8_t *out)
{
    crypto_auth_hmacsha256_state state;
    const struct hello *owner = session->role == OWNER ? &session->mine : &session->theirs;
    const struct hello *heir = session->role == OWNER ? &session->theirs : &session->mine;
    const uint8_t marks[] = {(uint8_t)prover, (uint8_t)strlen(session->id)};
    crypto_auth_hmacsha256_init(&state, session->secret, SECRET_BYTES);
    crypto_auth_hmacsha256_update(&state, (const uint8_t *)label, strlen(label));
    crypto_auth_hmacsha256_update(&state, marks, sizeof marks);
    crypto_auth_hmacsha256_update(&state, (const uint8_t *)session->id, strlen(session->id));
    crypto_auth_hmacsha256_update(&state, owner->body, owner->length);
    crypto_auth_hmacsha256_update(&state, heir->body, heir->length);
    crypto_auth_hmacsha256_final(&state, out);
}

void greeting_prove(const struct session *session, enum role prover, uint8_t *out)
{
    authenticate(session, proof_label, prover, out);
}

bool greeting_verify(const struct session *session, const uint8_t *proof)
{
    uint8_t expected[PROOF_BYTES];
    greeting_prove(session, session->role == OWNER ? HEIR : OWNER, expected);
    return sodium_memcmp(expected, proof, sizeof expected) == 0;
}

void greeting_digest_key(const struct session *session, uint8_t *out)
{
    authenticate(session, digest_label, NOBODY, out);
}
