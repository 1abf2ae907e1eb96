/* A hand-over between two instances: who is at the other end of the stream, and what has been agreed (docs/handover.md).
 *
 * The owner forwards, the heir stands by and holds a copy of the owner's state. After a take-over they have changed
 * places: the former owner sends what still arrives at its port through the stream. */
#ifndef VNF_SESSION_H
#define VNF_SESSION_H

#include "copy.h"
#include "port.h"

#define ID_BYTES 64

struct vnf;

enum { SECRET_BYTES = 32, HELLO_BYTES = 512 };

enum role { NOBODY, OWNER, HEIR };

enum phase {
    NONE,
    GREETING,  /* HELLO sent */
    PROVING,   /* HELLO received, PROOF sent */
    RUNNING,   /* both are who they say; the owner sends what changes */
    FREEZING,  /* owner: has sent everything, waits for READY */
    COMMITTED, /* owner: the heir has been told to serve, waits for ACTIVE */
    HOLDING,   /* heir: READY sent, waits for COMMIT or CANCEL */
};

struct hello {
    size_t length;
    uint8_t body[HELLO_BYTES];
};

struct session {
    int fd, watched_events; /* fd -1: no stream */
    enum role role;
    enum phase phase;
    char id[ID_BYTES + 1];
    uint8_t secret[SECRET_BYTES];
    struct hello mine, theirs;
    struct copy *copy;
    struct buffer in, out, held; /* held: frames that came during a freeze, as records */
    uint64_t began_ns, round_began_ns, freeze_began_ns;
    size_t round_left;        /* of the round under way */
    bool round_open, started; /* the first record of the owner was seen or sent */
    bool complete;            /* the heir has had a whole copy once */
    bool was_owner;           /* so this heir's port may still receive packets: they go through the stream */
    bool peer_tunnels;        /* this owner has taken over, so its peer may send frames */
    bool broken;              /* nothing can be sent any more; what the peer said last is still to be read */
    uint32_t attempt;         /* the number of the last FREEZE */
    enum trouble refused;     /* the heir's answer to it */
    uint64_t sent, acknowledged, taken, told; /* entries and removals; told: of `taken`, in the last ACK */
    uint64_t numbers[MAX_NUMBERS];
    size_t number_count;

    /* For `handover status`; they outlive the session. */
    uint64_t rounds, bytes, freeze_us, last_entries, last_digest[2], tunnelled_packets, tunnel_lost_bytes;
    enum trouble trouble;
    char error[ERROR_BYTES];
};

void session_init(struct session *session);
/* Takes the stream over, which must be a connected unix stream socket, and greets. False with one line in `error` (and
 * the stream still the caller's) when it cannot begin. */
bool session_join(struct vnf *vnf, int fd, const char *id, const char *secret, char *error);
/* Ends the session, if there is one, and says why; an owner goes on serving. */
void session_end(struct vnf *vnf, enum trouble trouble, const char *detail);
/* Owner: gives the state away. False with `error` when it goes on serving. Blocks for TAKE_TIMEOUT_MS at most. */
bool session_take(struct vnf *vnf, char *error);
/* The stream may be read or written. */
void session_serve(struct vnf *vnf, uint64_t now_ns);
/* A bounded piece of work, at every turn of the event loop, and how long until the next is due (ms; -1: no time set). */
void session_turn(struct vnf *vnf, uint64_t now_ns);
int session_wait_ms(const struct vnf *vnf, uint64_t now_ns);

/* The former owner sends frames on to the new one; false while the stream is too full to take any. */
bool session_is_tunnel(const struct session *session);
bool session_has_room(const struct session *session);
void session_tunnel(struct session *session, const struct frame *frames, size_t count);
/* During a take-over the port is left alone. */
bool session_is_frozen(const struct session *session);
/* Entries and removals that the heir has not acknowledged; in sync when they are few. */
size_t session_lacking(const struct session *session);
bool session_in_sync(const struct session *session);
void session_flush(struct session *session);
void session_to_json(const struct vnf *vnf, struct json *out);

#endif
