"""A small site of real switches and servers that the project's emulator knows nothing of, built as a person would.

Two Open vSwitch bridges under the kernel's own names, joined by a cable; a user and a web server as network namespaces;
two servers, each a namespace with a Docker engine of its own and two cables to its switch. One engine is reached by
TLS, the other by SSH. All by `ip`, `ovs-vsctl`, `openssl`, `docker` and `sshd`, within namespaces of the caller's.

    user -1- left -9===9- right -1- web
             |5 |6        |5 |6
             server one   server two
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from mininet_topos.engine import PrivateDocker

SWITCHES = {"left": 0xA1, "right": 0xB2}
SERVERS = {"one": "left", "two": "right"}
SLOTS = (5, 6)
OPENFLOW_PORT, TLS_PORT = 6653, 2376
PUSH_OFF = ("tx", "off", "tso", "off", "gso", "off", "gro", "off")

SCENARIO = """\
schema: 1
name: field
period_s: 5
switches: [{id: left, dpid: 0xa1}, {id: right, dpid: 0xb2}]
servers:
  - {id: one, tier: edge, at: left, cpu_cores: 1, memory_mb: 512,
     engine: 'tcp://10.99.1.2:2376', engine_tls: pki/engine,
     ports: [{port: 5, network: cable5}, {port: 6, network: cable6}]}
  - {id: two, tier: core, at: right, cpu_cores: 2, memory_mb: 1024, engine: 'ssh://root@10.99.2.2',
     ports: [{port: 5, network: cable5}, {port: 6, network: cable6}]}
links: [{a: left, b: right, bandwidth_mbps: 100, delay_ms: 0.1}]
endpoints:
  - {id: user, at: left, ip: 10.0.0.1, mac: '02:00:00:00:00:01', port: 1}
  - {id: web, at: right, ip: 10.0.0.2, mac: '02:00:00:00:00:02', port: 1}
vnf_types:
  firewall: {cpu_base: 0.02, cpu_per_mbps: 0.01, memory_mb: 32, state_mb: 0.1, service_ms: 0.1}
  monitor: {cpu_base: 0.02, cpu_per_mbps: 0.01, memory_mb: 32, state_mb: 0.1, service_ms: 0.1}
chains:
  - {id: web1, from: user, to: web, vnfs: [firewall, monitor], max_delay_ms: 50, flow: {proto: udp, dst_port: 5001},
     traffic: {profile: constant, mean_mbps: 1}}
placement: {web1: [one, two]}
"""


def run(*command: str, **environment: str) -> str:
    """Output of a command that must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, **environment})
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"
    return done.stdout


class Site:
    """All of it. A context manager; `scenario` is the file that a person would have written for it.

    The controller is to be run with `home` as $HOME and `programs` first in its PATH.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.scenario = folder, folder / "field.yaml"
        self.home, self.programs = folder / "home", folder / "programs"
        self._stack = ExitStack()

    def __enter__(self) -> Site:
        self.scenario.write_text(SCENARIO)
        for program in ("dockerd", "containerd", "ovs-vswitchd", "sshd", "openssl", "ethtool"):
            assert _found(program), f"{program} is not installed"
        run("mount", "-t", "tmpfs", "tmpfs", "/run")  # for `ip netns` and sshd; ours alone, like all mounts here
        run("ip", "link", "set", "lo", "up")
        try:
            self._certificates()
            self._switches()
            self._endpoint("user", "left", "10.0.0.1", "02:00:00:00:00:01")
            self._endpoint("web", "right", "10.0.0.2", "02:00:00:00:00:02")
            for number, server in enumerate(SERVERS, 1):
                self._server(server, number)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stack.close()

    # ---- as the person at the site does it

    def _certificates(self) -> None:
        """One authority; the engine's certificate, its client's, the switches' and the controller's."""
        pki = self.folder / "pki"
        for folder in (pki, pki / "engine", pki / "controller", pki / "switch", pki / "server"):
            folder.mkdir()
        request = ("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-batch", "-days", "2")
        run(*request, "-x509", "-subj", "/CN=site", "-keyout", str(pki / "ca.key"), "-out", str(pki / "ca.pem"))
        for name in ("engine", "controller", "switch", "server"):
            folder = pki / name
            key, certificate = ("-keyout", str(folder / "key.pem")), ("-out", str(folder / "cert.pem"))
            alternative = ("-addext", "subjectAltName=IP:10.99.1.2,IP:127.0.0.1")
            run(*request, "-x509", "-CA", str(pki / "ca.pem"), "-CAkey", str(pki / "ca.key"), "-subj", f"/CN={name}",
                *alternative, "-addext", "basicConstraints=critical,CA:FALSE", *key, *certificate)  # fmt: skip
            (folder / "ca.pem").write_bytes((pki / "ca.pem").read_bytes())

    def _switches(self) -> None:
        ovs = self.folder / "ovs"
        ovs.mkdir()
        os.environ.update(dict.fromkeys(("OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR", "OVS_SYSCONFDIR"), str(ovs)))
        run("ovsdb-tool", "create", str(ovs / "conf.db"), "/usr/share/openvswitch/vswitch.ovsschema")
        self._spawn("ovsdb-server", str(ovs / "conf.db"), f"--remote=punix:{ovs}/db.sock", f"--unixctl={ovs}/db.ctl")
        run("ovs-vsctl", "--retry", "--no-wait", "--timeout=10", "init")
        self._spawn("ovs-vswitchd", f"unix:{ovs}/db.sock", f"--unixctl={ovs}/switch.ctl")
        own = self.folder / "pki" / "switch"
        run("ovs-vsctl", "set-ssl", *(str(own / name) for name in ("key.pem", "cert.pem", "ca.pem")))
        for name, dpid in SWITCHES.items():
            run("ovs-vsctl", "--timeout=10", "add-br", name, "--", "set", "Bridge", name, "datapath_type=netdev",
                "protocols=OpenFlow13", "fail_mode=secure", f"other-config:datapath-id={dpid:016x}")  # fmt: skip
        self._cable("left", 9, "right-left")
        self._plug("right", 9, "right-left")

    def connect_switches(self, *, port: int = OPENFLOW_PORT, only: Sequence[str] = tuple(SWITCHES)) -> None:
        """Tells the switches where their controller is; by TLS, as the site wants it."""
        for switch in only:
            run("ovs-vsctl", "--timeout=10", "set-controller", switch, f"ssl:127.0.0.1:{port}", "--",
                "set", "Controller", switch, "max_backoff=1000", "connection_mode=out-of-band")  # fmt: skip

    def _endpoint(self, name: str, switch: str, address: str, mac: str) -> None:
        run("ip", "netns", "add", name)
        self._cable(switch, 1, "eth0", inside=name)
        run("ip", "-n", name, "link", "set", "eth0", "address", mac)
        run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "eth0")

    def _server(self, name: str, number: int) -> None:
        """Its management network, its cables, its engine, and how that is reached from outside."""
        run("ip", "netns", "add", name)
        run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "link", "add", f"mgmt{number}", "type", "veth", "peer", "name", "mgmt", "netns", name)
        run("ip", "addr", "add", f"10.99.{number}.1/24", "dev", f"mgmt{number}")
        run("ip", "link", "set", f"mgmt{number}", "up")
        run("ip", "-n", name, "addr", "add", f"10.99.{number}.2/24", "dev", "mgmt")
        run("ip", "-n", name, "link", "set", "mgmt", "up")
        for slot in SLOTS:
            self._cable(SERVERS[name], slot, f"cable{slot}", inside=name)
        engine = self._stack.enter_context(ServerEngine(self.folder / name, name, tls=self._tls_flags(number)))
        for slot in SLOTS:
            # The addresses are nobody's: the engine wants some, VNFs do not use them.
            run("docker", "-H", engine.url, "network", "create", "--driver", "macvlan",
                "--subnet", f"198.51.100.{8 * slot}/29", "--opt", "macvlan_mode=passthru",
                "--opt", f"parent=cable{slot}", f"cable{slot}")  # fmt: skip
        if number == 2:
            self._ssh(name, engine.url)

    def _tls_flags(self, number: int) -> tuple[str, ...]:
        if number != 1:
            return ()
        own = self.folder / "pki" / "server"
        return (
            "-H", f"tcp://10.99.1.2:{TLS_PORT}", "--tlsverify", f"--tlscacert={own}/ca.pem",
            f"--tlscert={own}/cert.pem", f"--tlskey={own}/key.pem",
        )  # fmt: skip

    def _ssh(self, server: str, engine: str) -> None:
        """An SSH server whose sessions find the engine, and a key of the controller's user that it lets in."""
        ssh, own = self.folder / "ssh", self.home / ".ssh"
        ssh.mkdir()
        own.mkdir(parents=True, mode=0o700)
        Path("/run/sshd").mkdir()
        for key in (ssh / "host", own / "id_ed25519"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
        (ssh / "authorized").write_bytes((own / "id_ed25519.pub").read_bytes())
        (own / "known_hosts").write_text("10.99.2.2 " + (ssh / "host.pub").read_text())
        (ssh / "config").write_text(
            f"HostKey {ssh}/host\nAuthorizedKeysFile {ssh}/authorized\nStrictModes no\nUsePAM no\nPidFile none\n"
            f"PermitRootLogin prohibit-password\nListenAddress 10.99.2.2\nMaxSessions 50\nSetEnv DOCKER_HOST={engine}\n"
        )
        self._ssh_program(own)
        self._spawn("ip", "netns", "exec", server, "/usr/sbin/sshd", "-D", "-e", "-f", str(ssh / "config"))

    def _ssh_program(self, own: Path) -> None:
        """`ssh` as that user has it: the program looks in the home of the password file, not in $HOME."""
        program = self.programs / "ssh"
        self.programs.mkdir()
        program.write_text(
            f'#!/bin/sh\nexec /usr/bin/ssh -i {own}/id_ed25519 -o UserKnownHostsFile={own}/known_hosts "$@"\n'
        )
        program.chmod(0o755)

    def _cable(self, switch: str, port: int, far: str, *, inside: str = "") -> None:
        """A veth pair from a port of a switch to an interface, in a namespace where one is named."""
        near = f"{switch}-{port}"
        run("ip", "link", "add", near, "type", "veth", "peer", "name", far)
        for end in (near, far):
            Path(f"/proc/sys/net/ipv6/conf/{end}/disable_ipv6").write_text("1")
        run("ethtool", "-K", far, *PUSH_OFF)
        if inside:
            run("ip", "link", "set", far, "netns", inside)
            run("ip", "-n", inside, "link", "set", far, "up")
        self._plug(switch, port, near)
        if not inside:
            run("ip", "link", "set", far, "up")
        run("ip", "link", "set", near, "up")

    @staticmethod
    def _plug(switch: str, port: int, interface: str) -> None:
        run("ovs-vsctl", "--timeout=10", "add-port", switch, interface, "--", "set", "Interface", interface,
            f"ofport_request={port}")  # fmt: skip

    def _spawn(self, *command: str) -> None:
        log = (self.folder / f"{Path(command[0]).name}.log").open("wb")
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._stack.callback(log.close)
        self._stack.callback(process.wait)
        self._stack.callback(process.terminate)

    def flows(self, switch: str) -> list[str]:
        """Every rule of a switch as its own tool tells it, without what counts."""
        text = run("ovs-ofctl", "-O", "OpenFlow13", "--no-stats", "--no-names", "dump-flows", switch)
        return sorted(line.strip() for line in text.splitlines() if "actions=" in line)


class ServerEngine(PrivateDocker):
    """A private engine that lives in a server's network namespace."""

    def __init__(self, run_dir: Path, namespace: str, *, tls: Sequence[str]) -> None:
        run_dir.mkdir()
        super().__init__(run_dir)
        self._namespace, self._tls = namespace, tls

    def _spawn(self, command: Sequence[str]) -> None:
        extra = self._tls if command[0] == "dockerd" else ()
        inside = ["nsenter", f"--net=/run/netns/{self._namespace}", *command, *extra]
        with (self.root / f"{command[0]}.log").open("wb") as log:
            self._daemons.append(
                subprocess.Popen(inside, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
            )


def await_true(condition: object, timeout_s: float, what: str) -> None:
    """Until a condition (a function) holds; AssertionError naming `what` when it does not within the time."""
    deadline = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def _found(program: str) -> bool:
    return any((Path(folder) / program).exists() for folder in ("/usr/sbin", "/usr/bin", "/sbin", "/bin"))
