/* Fuzzes what a hand-over's peer may send, past the proof of who it is (libFuzzer; not part of the program):
 *   cd docker/vnf && clang -g -O1 -fsanitize=fuzzer,address,undefined -D_DEFAULT_SOURCE -o /tmp/fuzz \
 *       fuzz/session.c $(ls *.c | grep -v main.c) -lsodium && /tmp/fuzz -max_total_time=300
 * The first byte chooses the role and the function, the rest is the stream, in pieces of up to 255 bytes. */
#include "../vnf.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *const configurations[] = {
    "function monitor\nentries 4\n", "function nat\nexternal 10.9.0.1\nentries 4\n",
    "function balancer\nbackend 10.1.0.1\nbackend 10.1.0.2\nentries 4\n", "function firewall\ntrack on\nentries 4\n"};

static void prove(struct session *session, uint8_t choice)
{
    session->phase = RUNNING;
    if (session->role == HEIR && (choice & 8) == 0)
        return;
    session->started = true;
    session->complete = (choice & 16) != 0;
    session->peer_tunnels = (choice & 32) != 0;
}

static void feed(struct vnf *vnf, int peer, const uint8_t *data, size_t size)
{
    uint8_t answers[4096];
    while (size > 1 && vnf->session.fd >= 0) {
        const size_t bytes = data[0] < size - 1 ? data[0] : size - 1;
        if (send(peer, data + 1, bytes, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
            break;
        session_serve(vnf, 1000);
        session_turn(vnf, 2000000000u);
        while (recv(peer, answers, sizeof answers, MSG_DONTWAIT) > 0)
            continue;
        data += 1 + bytes;
        size -= 1 + bytes;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct vnf vnf;
    char error[ERROR_BYTES], text[200];
    int ends[2];
    if (size < 2 || sodium_init() < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0)
        return 0;
    memset(&vnf, 0, sizeof vnf);
    vnf.port.fd = -1;
    vnf.port.up = true;
    vnf.active = (data[0] & 4) != 0;
    vnf.poller = -1;
    session_init(&vnf.session);
    strcpy(text, configurations[data[0] & 3]);
    if (!vnf_configure(&vnf, text, error))
        abort();
    if (!session_join(&vnf, ends[0], "s", "0000000000000000000000000000000000000000000000000000000000000000", error))
        abort();
    if ((data[0] & 64) == 0) {
        uint8_t key[DIGEST_KEY_BYTES] = {1};
        prove(&vnf.session, data[0]);
        if (vnf.session.started)
            vnf.session.copy = copy_begin(vnf_table(&vnf), key, 0);
    }
    feed(&vnf, ends[1], data + 1, size - 1);
    session_end(&vnf, LEFT, "");
    config_free(&vnf.config);
    close(ends[1]);
    return 0;
}
