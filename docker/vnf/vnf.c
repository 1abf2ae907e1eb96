#include "vnf.h"

#include "options.h"
#include "work.h"

#include <stdlib.h>
#include <string.h>

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

void vnf_forward(struct vnf *vnf, uint64_t now_ns)
{
    struct frame frames[BATCH];
    const size_t received = port_receive(&vnf->port, frames);
    size_t accepted = 0;
    for (size_t i = 0; i < received; i++) {
        count(&vnf->rx, frames[i].length);
        if (judge(vnf, &frames[i], now_ns) == FORWARD)
            frames[accepted++] = frames[i];
        else
            count(&vnf->dropped, frames[i].length);
    }
    send_all(vnf, frames, accepted);
}

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
    json_bool(out, "active", vnf->port.up); /* forwards what it receives; a standby of a hand-over will not */
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
    vnf->config.function->counters(vnf->config.self, out, now_ns);
}

static void answer_configure(struct vnf *vnf, const char *base64, struct json *out)
{
    char error[ERROR_BYTES] = "no configuration file was given at the start";
    char *text = NULL;
    if (base64 != NULL)
        text = config_decode(base64, error);
    else if (vnf->config_path != NULL)
        text = config_read(vnf->config_path, error);
    const bool good = text != NULL && vnf_configure(vnf, text, error);
    free(text);
    json_bool(out, "ok", good);
    if (!good)
        json_string(out, "error", error);
}

void vnf_answer(struct vnf *vnf, char *request, struct json *out, uint64_t now_ns)
{
    char *rest, *verb = strtok_r(request, " \t\r\n", &rest);
    char *argument = verb == NULL ? NULL : strtok_r(NULL, " \t\r\n", &rest);
    json_begin(out, NULL, '{');
    if (verb != NULL && strcmp(verb, "health") == 0)
        answer_health(vnf, out, now_ns);
    else if (verb != NULL && strcmp(verb, "counters") == 0)
        answer_counters(vnf, out, now_ns);
    else if (verb != NULL && strcmp(verb, "configure") == 0)
        answer_configure(vnf, argument, out);
    else {
        json_bool(out, "ok", false);
        json_string(out, "error", "unknown request (health, counters, configure [BASE64])");
    }
    json_end(out, '}');
}
