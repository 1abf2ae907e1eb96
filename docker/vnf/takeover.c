/* The take-over as the owner does it: from the last packet before the freeze to the heir's word that it serves. */
#define _GNU_SOURCE
#include "clock.h"
#include "options.h"
#include "records.h"

#include <poll.h>
#include <time.h>

enum { NS_PER_MS = 1000000, TAKE_TIMEOUT_MS = 50 };

void held_send_back(struct session *session)
{
    struct reader body;
    enum kind kind;
    while (buffer_take(&session->held, &kind, &body) > 0) {
        record_send(session, FRAME, body.at, body.left);
        session->tunnelled_packets++;
    }
}

void held_deliver(struct vnf *vnf, uint64_t now_ns)
{
    struct reader body;
    enum kind kind;
    while (buffer_take(&vnf->session.held, &kind, &body) > 0) {
        struct frame frame = {(uint8_t *)body.at, body.left, true};
        vnf_deliver(vnf, &frame, now_ns);
    }
}

/* Reads what the peer says until the phase is another one, or time is up. */
static void await(struct vnf *vnf, enum phase phase, uint64_t deadline_ns)
{
    struct session *session = &vnf->session;
    while (session->fd >= 0 && session->phase == phase) {
        const uint64_t now_ns = clock_ns();
        const short events = POLLIN | (buffer_pending(&session->out) > 0 ? POLLOUT : 0);
        struct pollfd polled = {.fd = session->fd, .events = events};
        if (now_ns >= deadline_ns)
            return;
        const struct timespec left = {0, (long)(deadline_ns - now_ns)};
        if (ppoll(&polled, 1, &left, NULL) > 0)
            session_serve(vnf, clock_ns());
    }
}

static bool check_take(const struct vnf *vnf, char *error)
{
    const struct session *session = &vnf->session;
    if (session->fd < 0)
        return fail(error, "no_session: nobody is there to hand over to");
    if (session->role != OWNER)
        return fail(error, "wrong_role: the peer is the owner already");
    if (!session_in_sync(session))
        return fail(error, "not_in_sync: the heir lacks %zu entries",
                    session_lacking(session));
    return true;
}

static bool explain(struct vnf *vnf, char *error)
{
    struct session *session = &vnf->session;
    if (session->fd < 0)
        return fail(error, "%s", session->error);
    held_deliver(vnf, clock_ns());
    if (session->refused != FINE)
        return fail(error, "%s: said by the heir", trouble_name(session->refused));
    record_send_number(session, CANCEL, session->attempt, 4);
    session->phase = RUNNING;
    session_flush(session);
    return fail(error, "timeout: no answer of the heir within %d ms", TAKE_TIMEOUT_MS);
}

bool session_take(struct vnf *vnf, char *error)
{
    struct session *session = &vnf->session;
    if (!check_take(vnf, error))
        return false;
    session->freeze_began_ns = clock_ns();
    session->phase = FREEZING;
    session->refused = FINE;
    session->last_entries = copy_waiting(session->copy);
    session->round_open = false;
    for (size_t count; (count = copy_send(session->copy, &session->out, SIZE_MAX)) > 0;)
        session->sent += count;
    record_send_freeze(vnf);
    session_flush(session);
    const uint64_t deadline_ns = session->freeze_began_ns + (uint64_t)TAKE_TIMEOUT_MS * NS_PER_MS;
    await(vnf, FREEZING, deadline_ns);
    await(vnf, COMMITTED, deadline_ns);
    if (vnf->active) /* nothing was committed, or the heir's end took it back */
        return explain(vnf, error);
    return true; /* or will be, when the heir says so: until then neither forwards, and nothing is read */
}
