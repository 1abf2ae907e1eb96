"""An Open vSwitch of our own: database and switch daemon with files, sockets and bridges apart from the host's."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from mininet_topos import syscalls
from twin.errors import EnvironmentLack, VnftwinError

MEND = "apt-get install -y --no-install-recommends openvswitch-switch"
SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 3.0
PROGRAMS = ("ovsdb-tool", "ovsdb-server", "ovs-vswitchd", "ovs-vsctl", "ovs-ofctl")


class OvsFailed(VnftwinError):
    """A daemon of Open vSwitch did not start or ended; the message has its last line."""


class PrivateOvs:
    """`ovsdb-server` and `ovs-vswitchd` as children of this process, in its namespaces. A context manager."""

    def __init__(self, *, run_dir: Path, log_dir: Path) -> None:
        self.run_dir, self._log_dir = run_dir, log_dir
        self.daemons: list[subprocess.Popen[bytes]] = []

    @property
    def database(self) -> str:
        """How a client on this machine reaches the database."""
        return f"unix:{self.run_dir}/db.sock"

    @property
    def environment(self) -> dict[str, str]:
        """What makes `ovs-vsctl` and `ovs-ofctl` talk to this one."""
        places = ("OVS_RUNDIR", "OVS_DBDIR", "OVS_SYSCONFDIR")
        return {**dict.fromkeys(places, str(self.run_dir)), "OVS_LOGDIR": str(self._log_dir)}

    def __enter__(self) -> PrivateOvs:
        lacking = next((name for name in PROGRAMS if shutil.which(name) is None), None)
        if lacking or not SCHEMA.is_file():
            raise EnvironmentLack(f"Open vSwitch is not installed: no {lacking or SCHEMA}", MEND)
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self._log_dir.mkdir(parents=True, exist_ok=True)
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        for daemon in reversed(self.daemons):
            daemon.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(STOP_TIMEOUT_S)
            if daemon.poll() is None:
                daemon.kill()
                daemon.wait()
        self.daemons.clear()

    def _start(self) -> None:
        database = self.run_dir / "conf.db"
        self.run(["ovsdb-tool", "create", str(database), str(SCHEMA)])
        path = self.run_dir / "db.sock"
        self._spawn(["ovsdb-server", str(database), f"--remote=punix:{path}"])
        self._wait_for(path)
        # One thread each: on a small machine the packets need the cores more than the upcalls do.
        threads = ["other_config:n-handler-threads=1", "other_config:n-revalidator-threads=1"]
        # Nobody reads the counters in its database, and to fill them the forwarding thread waits for the kernel.
        seldom = "other_config:stats-update-interval=3600000"
        self.run(["ovs-vsctl", "--no-wait", "--", "init", "--", "set", "Open_vSwitch", ".", *threads, seldom])
        self._spawn(["ovs-vswitchd", self.database])
        self.run(["ovs-vsctl", f"--timeout={START_TIMEOUT_S:.0f}", "show"])

    def run(self, command: list[str]) -> str:
        """Runs one of Open vSwitch's commands against this one. OvsFailed with its last line."""
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **self.environment})
        if done.returncode:
            word = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise OvsFailed(f"{command[0]} failed: {word}")
        return done.stdout

    def _spawn(self, command: list[str]) -> None:
        name = command[0]
        common = [
            f"--pidfile={self.run_dir}/{name}.pid", f"--unixctl={self.run_dir}/{name}.ctl",
            f"--log-file={self._log_dir}/{name}.log", "-vconsole:off", "--no-chdir",
        ]  # fmt: skip
        daemon = subprocess.Popen(
            [*command, *common], env={**os.environ, **self.environment}, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, preexec_fn=_before_exec,
        )  # fmt: skip
        self.daemons.append(daemon)

    def _wait_for(self, path: Path) -> None:
        """Until the database takes connections: its socket is there a moment earlier."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _accepts(path):
            if time.monotonic() > deadline or self.daemons[-1].poll() is not None:
                raise OvsFailed(f"ovsdb-server did not start (log: {self._log_dir}/ovsdb-server.log)")
            time.sleep(0.005)


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        return client.connect_ex(str(path)) == 0


def _before_exec() -> None:
    # No precedence for the switches, unlike for what emulates wires: woken for every packet alone, vswitchd took a
    # whole core at 1,000 packets/s, where it takes a third when packets wait for it, and VNFs and controller starved.
    syscalls.set_parent_death_signal(signal.SIGKILL)


def kernel_datapath_works() -> bool:
    """Is there a kernel datapath? Found out by making one in a scratch network namespace, which takes it along."""
    return _in_scratch_namespace("modprobe -q openvswitch; ovs-dpctl add-dp vnftwin-probe")


def netem_works() -> bool:
    """Does the kernel have netem beneath HTB? Found out in a scratch network namespace."""
    return _in_scratch_namespace(
        "modprobe -q sch_netem; modprobe -q sch_htb; tc qdisc add dev lo root handle 5:0 htb default 1 && "
        "tc class add dev lo parent 5:0 classid 5:1 htb rate 10Mbit burst 15k && "
        "tc qdisc add dev lo parent 5:1 handle 10: netem delay 1ms"
    )


def _in_scratch_namespace(script: str) -> bool:
    try:
        done = subprocess.run(["unshare", "-n", "sh", "-c", script], capture_output=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
