"""Many flows between two hosts: `send` touches each in turn, `watch` tells under which port each arrives.

    python -m tests.bench.flows send INTERFACE SRC_MAC DST_MAC SRC_IP DST_IP FLOWS PPS
    python -m tests.bench.flows watch INTERFACE FLOWS

Runs inside a host's network namespace, with raw sockets: the kernel of the host takes no part. Flows are UDP by source
port, and TCP resets (which nobody answers) beyond what UDP has ports for. Every packet carries its flow's number. Ends
with its stdin; then it prints one line of JSON.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import sys
import time

from controller import frames

PORT = 9  # discard
MARK = b"vnftwin flow"
FIRST_PORT = 1024
UDP_FLOWS = 60_000
BURST = 25
_ETH_P_IP = 0x0800
_NUMBER = struct.Struct("!12sI")


def packet(number: int, macs: tuple[str, str], ips: tuple[str, str]) -> bytes:
    """The frame of a flow, from `macs[0]`, `ips[0]` to the others."""
    payload = _NUMBER.pack(MARK, number)
    src, dst = ips
    if number < UDP_FLOWS:
        proto = frames.PROTO_UDP
        segment = frames.encode_udp(frames.Udp(FIRST_PORT + number, PORT, payload), src=src, dst=dst)
    else:
        proto = frames.PROTO_TCP
        plain = frames.Tcp(FIRST_PORT + number - UDP_FLOWS, PORT, payload, flags=frames.TCP_RST)
        segment = frames.encode_tcp(plain, src=src, dst=dst)
    ip = frames.encode_ipv4(frames.Ipv4(src, dst, proto, segment, 0, ident=number & 0xFFFF))
    return frames.encode_ethernet(frames.Ethernet(macs[1], macs[0], frames.ETHERTYPE_IPV4, ip))


def send(interface: str, macs: tuple[str, str], ips: tuple[str, str], flows: int, pps: float) -> dict[str, int]:
    """All flows in turn, in bursts, until stdin ends. A burst that comes late is not made up for."""
    ready = [packet(number, macs, ips) for number in range(flows)]
    sent, next_s = 0, time.monotonic()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind((interface, _ETH_P_IP))
        while not select.select([sys.stdin], [], [], max(0.0, next_s - time.monotonic()))[0]:
            next_s = max(next_s + BURST / pps, time.monotonic() - BURST / pps)
            for _ in range(BURST):
                sender.send(ready[sent % flows])
                sent += 1
    return {"sent": sent}


def watch(interface: str, flows: int) -> dict[str, int]:
    """How many packets came, of how many flows, and how often a flow came from another port than before."""
    ports: list[int] = [0] * flows
    received = changed = 0
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_IP)) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        receiver.bind((interface, _ETH_P_IP))
        while True:
            ready, _, _ = select.select([sys.stdin, receiver], [], [])
            if sys.stdin in ready:
                return {"received": received, "flows": sum(map(bool, ports)), "changed": changed}
            frame = receiver.recv(2048)
            at = frame.find(MARK, 34)
            if at < 0:
                continue
            number = int.from_bytes(frame[at + 12 : at + 16], "big")
            port = int.from_bytes(frame[34:36], "big")
            received += 1
            changed += ports[number] not in (0, port)
            ports[number] = port


def main() -> None:
    verb, interface, *rest = sys.argv[1:]
    if verb == "watch":
        result = watch(interface, int(rest[0]))
    else:
        result = send(interface, (rest[0], rest[1]), (rest[2], rest[3]), int(rest[4]), float(rest[5]))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
