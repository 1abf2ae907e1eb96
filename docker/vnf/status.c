/* `handover status`: where a hand-over is, for people and controllers. */
#include "vnf.h"

#include <inttypes.h>
#include <stdio.h>

static const char *role_name(const struct vnf *vnf)
{
    return vnf->session.fd < 0 ? "none" : vnf->session.role == OWNER ? "owner" : "heir";
}

static const char *phase_name(const struct session *session)
{
    switch (session->phase) {
    case NONE: return "none";
    case GREETING: case PROVING: return "joining";
    case FREEZING: return "freezing";
    case COMMITTED: return "committed";
    case HOLDING: return "holding";
    default: break;
    }
    if (session->role == OWNER)
        return session_in_sync(session) ? "sync" : "copying";
    return session->was_owner ? "tunnelling" : session->complete ? "sync" : "copying";
}

void session_to_json(const struct vnf *vnf, struct json *out)
{
    const struct session *session = &vnf->session;
    char digest[33];
    snprintf(digest, sizeof digest, "%016" PRIx64 "%016" PRIx64, session->last_digest[0], session->last_digest[1]);
    json_string(out, "session", session->fd < 0 ? "" : session->id);
    json_string(out, "role", role_name(vnf));
    json_string(out, "phase", phase_name(session));
    json_bool(out, "standby", !vnf->active);
    json_bool(out, "whole_copy", session->complete);
    json_count(out, "entries", vnf_table(vnf) == NULL ? 0 : vnf_table(vnf)->count);
    json_count(out, "entries_sent", session->sent);
    json_count(out, "entries_taken", session->taken);
    json_count(out, "dirty", session_lacking(session));
    json_count(out, "rounds", session->rounds);
    json_count(out, "bytes", session->bytes);
    json_count(out, "freeze_us", session->freeze_us);
    json_count(out, "last_entries", session->last_entries);
    json_string(out, "digest", digest);
    json_count(out, "tunnelled_packets", session->tunnelled_packets);
    json_count(out, "tunnel_lost_bytes", session->tunnel_lost_bytes);
    json_string(out, "error", session->error);
}
