#define _GNU_SOURCE
#include "session.h"

#include "clock.h"
#include "greeting.h"
#include "options.h"
#include "records.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    NS_PER_MS = 1000000,
    READ_BYTES = 32768,       /* at once: what the heir does in one turn */
    CHUNK_ENTRIES = 64,       /* at once: what the owner does in one turn */
    SEND_AHEAD_BYTES = 65536, /* entries are not written while more than that waits */
    TUNNEL_AHEAD_BYTES = 262144,
    OUT_BYTES = 2 << 20, HELD_BYTES = 1 << 20,
    SYNC_ENTRIES = 300, /* fewer than that the heir lacks, or has not acknowledged */
    ROUND_ENTRIES = 100, ROUND_NS = 5 * NS_PER_MS, /* a round begins when one of them is reached */
    GREETING_TIMEOUT_MS = 5000,
};

void session_init(struct session *session) { *session = (struct session){.fd = -1}; }

static bool is_stream(int fd)
{
    int domain = 0, type = 0;
    socklen_t length = sizeof domain;
    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 && domain == AF_UNIX &&
           getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_STREAM;
}

static bool check_join(const struct vnf *vnf, int fd, const char *id, char *error)
{
    if (vnf->session.fd >= 0)
        return fail(error, "session %s is under way (handover leave ends it)", vnf->session.id);
    if (vnf_table(vnf) == NULL)
        return fail(error, "%s keeps no state to hand over", vnf->config.function->name);
    if (fd < 0 || !is_stream(fd))
        return fail(error, "no unix stream socket came with the request");
    return strlen(id) <= ID_BYTES || fail(error, "the session's name is longer than %d characters", ID_BYTES);
}

bool session_join(struct vnf *vnf, int fd, const char *id, const char *secret, char *error)
{
    struct session *session = &vnf->session;
    char fits[FITS_BYTES];
    uint8_t key[SECRET_BYTES];
    size_t bytes = 0;
    if (!check_join(vnf, fd, id, error))
        return false;
    if (sodium_hex2bin(key, sizeof key, secret, strlen(secret), NULL, &bytes, NULL) != 0 || bytes != sizeof key)
        return fail(error, "the secret is not %d hex digits", 2 * SECRET_BYTES);
    session_init(session);
    session->fd = fd;
    fcntl(fd, F_SETFL, O_NONBLOCK);
    strcpy(session->id, id);
    memcpy(session->secret, key, sizeof key);
    session->role = vnf->active ? OWNER : HEIR;
    session->phase = GREETING;
    session->began_ns = clock_ns();
    buffer_init(&session->in, READ_BYTES + HEADER_BYTES + MAX_BODY);
    buffer_init(&session->out, OUT_BYTES);
    buffer_init(&session->held, HELD_BYTES);
    vnf->config.function->fits(vnf->config.self, fits);
    greeting_write(session, vnf->config.function, fits);
    record_send(session, HELLO, session->mine.body, session->mine.length);
    return true;
}

/* The end of the peer is told by reading, after all it has said. */
void session_flush(struct session *session)
{
    struct buffer *out = &session->out;
    while (buffer_pending(out) > 0 && !session->broken) {
        const ssize_t sent = send(session->fd, out->bytes + out->start, buffer_pending(out), MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0) {
            session->broken = errno != EAGAIN;
            break;
        }
        out->start += (size_t)sent;
        session->bytes += (uint64_t)sent;
    }
    if (session->broken)
        out->start = out->end;
}

/* An heir that never served keeps only what is a whole copy of one that is gone. */
static void drop_copy(struct vnf *vnf, enum trouble trouble)
{
    const struct session *session = &vnf->session;
    const bool gone = trouble == PEER_GONE || trouble == TRUNCATED;
    if (session->role == HEIR && session->started && !session->was_owner && !(session->complete && gone))
        table_clear(vnf_table(vnf));
}

static void close_stream(struct vnf *vnf)
{
    struct session *session = &vnf->session;
    /* The stream may be open elsewhere, so closing alone would not end the watch. */
    epoll_ctl(vnf->poller, EPOLL_CTL_DEL, session->fd, NULL);
    close(session->fd);
    buffer_free(&session->in);
    buffer_free(&session->out);
    buffer_free(&session->held);
    sodium_memzero(session->secret, sizeof session->secret);
    session->fd = -1;
    session->watched_events = 0;
}

void session_end(struct vnf *vnf, enum trouble trouble, const char *detail)
{
    struct session *session = &vnf->session;
    if (session->fd < 0)
        return;
    session->trouble = trouble;
    fail(session->error, "%s%s%.160s", trouble_name(trouble), detail[0] == '\0' ? "" : ": ", detail);
    if (session->phase == COMMITTED) /* the heir ended before it served: nothing has changed */
        vnf->active = true;
    if (vnf->active)
        held_deliver(vnf, clock_ns());
    record_send_number(session, BYE, trouble, 1);
    session_flush(session);
    session->tunnel_lost_bytes += buffer_pending(&session->out);
    copy_end(session->copy);
    session->copy = NULL;
    drop_copy(vnf, trouble);
    close_stream(vnf);
    session->role = vnf->active ? OWNER : HEIR;
    session->phase = NONE;
}

static void acknowledge(struct session *session)
{
    if (session->taken == session->told)
        return;
    session->told = session->taken;
    record_send_number(session, ACK, session->taken, 8);
}

static void handle_all(struct vnf *vnf, uint64_t now_ns)
{
    struct session *session = &vnf->session;
    struct reader body;
    enum kind kind;
    char detail[ERROR_BYTES];
    int taken;
    while ((taken = buffer_take(&session->in, &kind, &body)) > 0) {
        const enum trouble trouble = record_handle(vnf, kind, &body, now_ns, detail);
        if (trouble != FINE)
            return session_end(vnf, trouble, detail);
    }
    if (taken < 0)
        return session_end(vnf, MALFORMED, "no record begins like this");
    acknowledge(session);
    session_flush(session);
}

static void receive(struct vnf *vnf, uint64_t now_ns)
{
    struct session *session = &vnf->session;
    uint8_t *at = buffer_reserve(&session->in, READ_BYTES);
    const ssize_t got = recv(session->fd, at, READ_BYTES, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0)
        return session_end(vnf, buffer_pending(&session->in) > 0 ? TRUNCATED : PEER_GONE, "");
    session->in.end += (size_t)got;
    session->bytes += (uint64_t)got;
    handle_all(vnf, now_ns);
}

void session_serve(struct vnf *vnf, uint64_t now_ns)
{
    if (vnf->session.fd >= 0)
        receive(vnf, now_ns);
    if (vnf->session.fd >= 0)
        session_flush(&vnf->session);
}

static bool is_sending(const struct session *session)
{
    return session->fd >= 0 && session->role == OWNER && session->phase == RUNNING && session->started;
}

size_t session_lacking(const struct session *session)
{
    return session->copy == NULL ? 0 : copy_waiting(session->copy) + (size_t)(session->sent - session->acknowledged);
}

bool session_in_sync(const struct session *session)
{
    return is_sending(session) && session->complete &&
           session_lacking(session) < SYNC_ENTRIES;
}

/* When the next round may begin, UINT64_MAX: when something changes. */
static uint64_t next_round_ns(const struct session *session)
{
    const size_t waiting = copy_waiting(session->copy);
    if (!session->complete || waiting >= ROUND_ENTRIES)
        return 0;
    return waiting > 0 ? session->round_began_ns + ROUND_NS : UINT64_MAX;
}

static void end_round(struct session *session)
{
    session->round_open = false;
    session->complete = true;
    record_send_number(session, ROUND, ++session->rounds, 8);
}

static void send_chunk(struct session *session, uint64_t now_ns)
{
    if (!session->round_open && (session->acknowledged < session->sent || next_round_ns(session) > now_ns))
        return;
    if (!session->round_open) {
        session->round_open = true;
        session->round_began_ns = now_ns;
        session->round_left = copy_waiting(session->copy);
    }
    const size_t count = copy_send(session->copy, &session->out, CHUNK_ENTRIES);
    session->sent += count;
    session->round_left -= count < session->round_left ? count : session->round_left;
    if (session->round_left == 0 || count == 0)
        end_round(session);
}

void session_turn(struct vnf *vnf, uint64_t now_ns)
{
    struct session *session = &vnf->session;
    if (session->fd < 0)
        return;
    const bool greeting = session->phase == GREETING || session->phase == PROVING;
    if (greeting && now_ns - session->began_ns > (uint64_t)GREETING_TIMEOUT_MS * NS_PER_MS)
        return session_end(vnf, TIMEOUT, "the peer never said who it is");
    if (is_sending(session) && buffer_pending(&session->out) < SEND_AHEAD_BYTES)
        send_chunk(session, now_ns);
    session_flush(session);
}

int session_wait_ms(const struct vnf *vnf, uint64_t now_ns)
{
    const struct session *session = &vnf->session;
    if (session->fd < 0)
        return -1;
    if (session->phase == GREETING || session->phase == PROVING)
        return GREETING_TIMEOUT_MS / 10;
    if (!is_sending(session) || buffer_pending(&session->out) >= SEND_AHEAD_BYTES)
        return -1;
    if (session->round_open)
        return 0;
    const uint64_t next_ns = next_round_ns(session);
    if (session->acknowledged < session->sent || next_ns == UINT64_MAX)
        return -1;
    return next_ns <= now_ns ? 0 : (int)((next_ns - now_ns) / NS_PER_MS) + 1;
}

bool session_is_tunnel(const struct session *session)
{
    return session->fd >= 0 && session->role == HEIR && session->was_owner;
}

bool session_has_room(const struct session *session)
{
    return buffer_pending(&session->out) < TUNNEL_AHEAD_BYTES;
}

void session_tunnel(struct session *session, const struct frame *frames, size_t count)
{
    for (size_t i = 0; i < count; i++)
        record_send(session, FRAME, frames[i].bytes, frames[i].length);
    session->tunnelled_packets += count;
    session_flush(session);
}

bool session_is_frozen(const struct session *session)
{
    return session->fd >= 0 && session->phase >= FREEZING;
}
