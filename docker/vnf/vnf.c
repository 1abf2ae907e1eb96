#include "vnf.h"

#include "options.h"
#include "work.h"

#include <stdlib.h>
#include <string.h>

#define BLANKS " \t\r\n"

static void count(struct volume *volume, size_t bytes)
{
    volume->packets++;
    volume->bytes += bytes;
}

static enum verdict judge(struct vnf *vnf, struct frame *frame, uint64_t now_ns)
{
    struct packet packet = {.frame = frame->bytes, .length = frame->length};
    const enum parse parsed = frame->whole ? packet_parse(&packet) : PARSE_MALFORMED;
    if (parsed == PARSE_MALFORMED) {
        vnf->malformed_packets++;
        return DROP;
    }
    if (parsed == PARSE_OTHER)
        return vnf->config.deny_non_ipv4 ? DROP : FORWARD;
    if (vnf->work_steps > 0)
        work_inspect(packet.ip, packet.length - (size_t)(packet.ip - packet.frame), vnf->work_steps);
    return vnf->config.function->process(vnf->config.self, &packet, now_ns);
}

static void send_all(struct vnf *vnf, const struct frame *frames, size_t frame_count)
{
    for (size_t at = 0; at < frame_count;) {
        const size_t sent = port_send(&vnf->port, frames + at, frame_count - at);
        for (size_t i = at; i < at + sent; i++)
            count(&vnf->tx, frames[i].length);
        at += sent;
        if (at < frame_count) { /* this one was refused: go on with the next */
            vnf->unsent_packets++;
            at++;
        }
    }
}

static void send_on(struct vnf *vnf, struct frame *frames, size_t received)
{
    size_t whole = 0;
    for (size_t i = 0; i < received; i++) {
        count(&vnf->rx, frames[i].length);
        if (frames[i].whole)
            frames[whole++] = frames[i];
        else
            vnf->malformed_packets++;
    }
    session_tunnel(&vnf->session, frames, whole);
}

void vnf_forward(struct vnf *vnf, uint64_t now_ns)
{
    struct frame frames[BATCH];
    size_t accepted = 0;
    if (!vnf_reads_port(vnf))
        return;
    const size_t received = port_receive(&vnf->port, frames);
    if (session_is_tunnel(&vnf->session))
        return send_on(vnf, frames, received);
    if (!vnf->active) {
        vnf->standby_packets += received;
        return;
    }
    for (size_t i = 0; i < received; i++) {
        count(&vnf->rx, frames[i].length);
        if (judge(vnf, &frames[i], now_ns) == FORWARD)
            frames[accepted++] = frames[i];
        else
            count(&vnf->dropped, frames[i].length);
    }
    send_all(vnf, frames, accepted);
}

void vnf_deliver(struct vnf *vnf, struct frame *frame, uint64_t now_ns)
{
    if (judge(vnf, frame, now_ns) == FORWARD)
        send_all(vnf, frame, 1);
    else
        count(&vnf->dropped, frame->length);
}

bool vnf_reads_port(const struct vnf *vnf)
{
    const struct session *session = &vnf->session;
    if (session_is_frozen(session))
        return false;
    return !session_is_tunnel(session) || session_has_room(session);
}

struct table *vnf_table(const struct vnf *vnf) { return vnf->config.function->state(vnf->config.self); }

bool vnf_configure(struct vnf *vnf, char *text, char *error)
{
    struct config config;
    if (!config_parse(text, &config, error))
        return false;
    if (config.work_us > 0 && vnf->steps_per_us == 0)
        vnf->steps_per_us = work_calibrate();
    if (vnf->config.function == config.function)
        config.function->adopt(config.self, vnf->config.self);
    config_free(&vnf->config);
    vnf->config = config;
    vnf->work_steps = (uint64_t)(config.work_us * vnf->steps_per_us);
    return true;
}

static void answer_health(struct vnf *vnf, struct json *out, uint64_t now_ns)
{
    json_bool(out, "ok", true);
    json_string(out, "function", vnf->config.function->name);
    json_string(out, "interface", vnf->port.name);
    json_bool(out, "interface_up", vnf->port.up);
    json_bool(out, "active", vnf->active && vnf->port.up);
    json_bool(out, "standby", !vnf->active);
    json_count(out, "hand_over", vnf_table(vnf) == NULL ? 0 : HAND_OVER_VERSION);
    json_number(out, "uptime_s", (double)(now_ns - vnf->started_ns) / 1e9);
    json_string(out, "version", VNF_VERSION);
}

static void volume_to_json(const struct volume *volume, struct json *out, const char *packets, const char *bytes)
{
    json_count(out, packets, volume->packets);
    json_count(out, bytes, volume->bytes);
}

static void answer_counters(struct vnf *vnf, struct json *out, uint64_t now_ns)
{
    port_update_drops(&vnf->port);
    json_bool(out, "ok", true);
    json_string(out, "function", vnf->config.function->name);
    volume_to_json(&vnf->rx, out, "rx_packets", "rx_bytes");
    volume_to_json(&vnf->tx, out, "tx_packets", "tx_bytes");
    volume_to_json(&vnf->dropped, out, "dropped_packets", "dropped_bytes");
    json_count(out, "malformed_packets", vnf->malformed_packets);
    json_count(out, "unsent_packets", vnf->unsent_packets);
    json_count(out, "kernel_dropped_packets", vnf->port.kernel_dropped);
    json_count(out, "standby_packets", vnf->standby_packets);
    json_count(out, "tunnelled_packets", vnf->session.tunnelled_packets);
    vnf->config.function->counters(vnf->config.self, out, now_ns);
}

static void answer_configure(struct vnf *vnf, const char *base64, struct json *out)
{
    char error[ERROR_BYTES] = "no configuration file was given at the start";
    char *text = NULL;
    if (vnf->session.fd >= 0)
        fail(error, "a hand-over is under way");
    else if (base64 != NULL)
        text = config_decode(base64, error);
    else if (vnf->config_path != NULL)
        text = config_read(vnf->config_path, error);
    const bool good = text != NULL && vnf_configure(vnf, text, error);
    free(text);
    json_bool(out, "ok", good);
    if (!good)
        json_string(out, "error", error);
}

/* The only way to serve without a peer's word: for one whose peer is gone. */
static void answer_activate(struct vnf *vnf, struct json *out)
{
    const bool refused = vnf->session.fd >= 0 && !vnf->active;
    json_bool(out, "ok", !refused);
    if (refused)
        json_string(out, "error", "the peer is there: take over from it instead");
    else
        vnf->active = true;
}

static bool hand_over(struct vnf *vnf, char **rest, int *passed, char *error)
{
    const char *verb = strtok_r(NULL, BLANKS, rest), *id = strtok_r(NULL, BLANKS, rest);
    const char *secret = id == NULL ? NULL : strtok_r(NULL, BLANKS, rest);
    if (verb != NULL && strcmp(verb, "status") == 0)
        return true;
    if (verb != NULL && strcmp(verb, "take") == 0)
        return session_take(vnf, error);
    if (verb != NULL && strcmp(verb, "leave") == 0) {
        session_end(vnf, LEFT, "");
        return true;
    }
    if (verb == NULL || strcmp(verb, "join") != 0 || secret == NULL)
        return fail(error, "handover join SESSION SECRET, take, status or leave");
    if (!session_join(vnf, *passed, id, secret, error))
        return false;
    *passed = -1;
    return true;
}

static void answer_hand_over(struct vnf *vnf, char **rest, int *passed, struct json *out)
{
    char error[ERROR_BYTES];
    const bool good = hand_over(vnf, rest, passed, error);
    json_bool(out, "ok", good);
    if (good)
        session_to_json(vnf, out);
    else
        json_string(out, "error", error);
}

void vnf_answer(struct vnf *vnf, char *request, int *passed, struct json *out, uint64_t now_ns)
{
    char *rest, *verb = strtok_r(request, BLANKS, &rest);
    json_begin(out, NULL, '{');
    if (verb != NULL && strcmp(verb, "health") == 0)
        answer_health(vnf, out, now_ns);
    else if (verb != NULL && strcmp(verb, "counters") == 0)
        answer_counters(vnf, out, now_ns);
    else if (verb != NULL && strcmp(verb, "configure") == 0)
        answer_configure(vnf, strtok_r(NULL, BLANKS, &rest), out);
    else if (verb != NULL && strcmp(verb, "activate") == 0)
        answer_activate(vnf, out);
    else if (verb != NULL && strcmp(verb, "handover") == 0)
        answer_hand_over(vnf, &rest, passed, out);
    else {
        json_bool(out, "ok", false);
        json_string(out, "error", "unknown request (health, counters, configure [BASE64], activate, handover ...)");
    }
    json_end(out, '}');
}
