"""What else happens on the machine, and how long it keeps a switch from forwarding: one action at a time.

    sudo .venv/bin/python -m tests.bench.disturbance [--rounds 30] [--pps 1000] [--burst 1] [--loops 4] [--only port,…]

One Open vSwitch bridge (userspace datapath) with numbered packets through it, in private namespaces. The actions take
turns, A B C A B C …, so that whatever else the machine does falls on all alike: compare the rows of one run only.
Per action: the longest silence at the receiver and the longest delay of a packet that began or ended during it, the
time the switch daemon waited for a core, and the packets lost.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from mininet_topos.ovs import PrivateOvs
from tests.bench.disturbances import ACTIONS, SETTLE_S, Site
from tests.bench.stream import Stream

PAUSE_S = 0.05
HOSTS = ("left", "right")
PLUG_IN = """
ip link add {name} type veth peer name eth0 netns {pid}; ip link set {name} up
nsenter -t {pid} -n ip -batch - <<END
link set eth0 address 02:00:00:00:00:0{number} up
addr add 10.0.0.{number}/24 dev eth0
neigh replace 10.0.0.{other} lladdr 02:00:00:00:00:0{other} dev eth0 nud permanent
END
nsenter -t {pid} -n ethtool -K eth0 tx off rx off > /dev/null
"""


@dataclass
class Windows:
    """Begin and end of each time an action was done, and what the switch daemon waited for a core meanwhile."""

    spans_ns: list[tuple[int, int]] = field(default_factory=list)
    waited_ms: list[float] = field(default_factory=list)
    busy_ms: list[float] = field(default_factory=list)
    took_ms: list[float] = field(default_factory=list)


def run_queue_ms(pid: int) -> tuple[float, float]:
    """(on a core, waiting for one) of a process's main thread, which forwards; ms since it began."""
    on_ns, waiting_ns, _ = Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()
    return int(on_ns) / 1e6, int(waiting_ns) / 1e6


def take_turns(site: Site, names: list[str], rounds: int, *, switch_pid: int) -> dict[str, Windows]:
    """Does every action `rounds` times, in turn."""
    found = {name: Windows() for name in names}
    for _ in range(rounds):
        for name in names:
            time.sleep(PAUSE_S)
            before, began_ns = run_queue_ms(switch_pid), time.monotonic_ns()
            ACTIONS[name].do(site)
            took_ms = (time.monotonic_ns() - began_ns) / 1e6
            time.sleep(SETTLE_S)
            after, windows = run_queue_ms(switch_pid), found[name]
            windows.spans_ns.append((began_ns, time.monotonic_ns()))
            windows.busy_ms.append(after[0] - before[0])
            windows.waited_ms.append(after[1] - before[1])
            windows.took_ms.append(took_ms)
    return found


def within(times_ns: npt.NDArray[np.int64], span: tuple[int, int]) -> slice:
    first, last = np.searchsorted(times_ns, span)
    return slice(int(first), int(last))


def silence_ms(arrivals_ns: npt.NDArray[np.int64], span: tuple[int, int]) -> float:
    """The longest time between two arrivals that touches the span."""
    part = within(arrivals_ns, span)
    around = arrivals_ns[max(0, part.start - 1) : part.stop + 1]
    return float(np.diff(around).max() / 1e6) if len(around) > 1 else (span[1] - span[0]) / 1e6


def delay_ms(stream: Mapping[str, npt.NDArray[np.int64]], span: tuple[int, int]) -> float:
    """The longest way of a packet that was sent in the span."""
    part = within(stream["sent_ns"], span)
    delays = stream["delay_ns"][part]
    delays = delays[delays >= 0]
    return float(delays.max() / 1e6) if len(delays) else 0.0


def lost(stream: Mapping[str, npt.NDArray[np.int64]], span: tuple[int, int]) -> int:
    return int((stream["delay_ns"][within(stream["sent_ns"], span)] < 0).sum())


def report(found: Mapping[str, Windows], stream: Mapping[str, npt.NDArray[np.int64]]) -> Table:
    table = Table("action", "took", "silence p50", "p95", "max", "delay p50", "p95", "max", "switch on a core",
                  "waiting", "lost", title="ms; medians where nothing else is said")  # fmt: skip
    for name, windows in found.items():
        silences = [silence_ms(stream["arrived_ns"], span) for span in windows.spans_ns]
        delays = [delay_ms(stream, span) for span in windows.spans_ns]
        figures = [float(np.median(windows.took_ms))]
        figures += [float(p) for values in (silences, delays) for p in np.percentile(values, [50, 95, 100])]
        figures += [float(np.median(windows.busy_ms)), float(np.median(windows.waited_ms))]
        missing = sum(lost(stream, span) for span in windows.spans_ns)
        table.add_row(name, *(f"{figure:.1f}" for figure in figures), str(missing))
    return table


@contextmanager
def network(folder: Path, loops: int) -> Iterator[tuple[PrivateOvs, dict[str, int]]]:
    """A bridge between two hosts; packets pass it `loops` + 1 times. Gives pids in the hosts' namespaces."""
    with ExitStack() as stack:
        ovs = stack.enter_context(PrivateOvs(run_dir=folder / "ovs", log_dir=folder / "log"))
        ovs.run(["ovs-vsctl", "add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev",
                 "protocols=OpenFlow13", "fail_mode=secure"])  # fmt: skip
        pids = {}
        for number, name in enumerate(HOSTS, start=1):
            host = subprocess.Popen(["unshare", "-n", "sleep", "infinity"])
            stack.callback(host.wait)
            stack.callback(host.kill)
            time.sleep(0.2)  # until it is in its namespace
            pids[name] = host.pid
            sh(PLUG_IN.format(name=name, pid=host.pid, number=number, other=3 - number))
            add_port(ovs, name)
        flows = ["left"]
        for loop in range(loops):
            sh(f"ip link add out{loop} type veth peer name in{loop}; ip link set out{loop} up; ip link set in{loop} up")
            for name in (f"out{loop}", f"in{loop}"):
                add_port(ovs, name)
            flows += [f"out{loop}", f"in{loop}"]
        flows.append("right")
        for come, go in zip(flows[::2], flows[1::2], strict=True):
            ovs.run(["ovs-ofctl", "-O", "OpenFlow13", "add-flow", f"unix:{folder}/ovs/br0.mgmt",
                     f"in_port={number_of(ovs, come)},actions=output:{number_of(ovs, go)}"])  # fmt: skip
        yield ovs, pids


def add_port(ovs: PrivateOvs, name: str) -> None:
    Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
    ovs.run(["ovs-vsctl", "add-port", "br0", name])


def number_of(ovs: PrivateOvs, name: str) -> int:
    return int(ovs.run(["ovs-vsctl", "get", "Interface", name, "ofport"]))


def sh(script: str) -> None:
    subprocess.run(["sh", "-ec", script], check=True)


def measure(arguments: argparse.Namespace) -> None:
    names = [n for n in ACTIONS if not arguments.only or n in arguments.only.split(",")]
    with tempfile.TemporaryDirectory(prefix="vnft-") as name, ExitStack() as stack:
        folder = Path(name)
        ovs, pids = stack.enter_context(network(folder, arguments.loops))
        site = stack.enter_context(Site(folder, ovs, engine=any(ACTIONS[n].needs_engine for n in names)))
        stream = Stream(folder, pids, pps=arguments.pps, burst=arguments.burst)
        with stream:
            time.sleep(1.0)
            found = take_turns(site, names, arguments.rounds, switch_pid=ovs.daemons[1].pid)
        Console(width=150).print(report(found, stream.result()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--pps", type=float, default=1000.0)
    parser.add_argument("--burst", type=int, default=1, help="packets sent together")
    parser.add_argument("--loops", type=int, default=4, help="how often a packet returns to the switch on its way")
    parser.add_argument("--only", default="", help=f"of {', '.join(ACTIONS)}")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        measure(arguments)
        return
    isolate = ["unshare", "-n", "-m", "-p", "-f", "--mount-proc", "--kill-child"]
    again = [sys.executable, "-m", "tests.bench.disturbance", "--inside", *sys.argv[1:]]
    sys.exit(subprocess.run([*isolate, *again]).returncode)


if __name__ == "__main__":
    main()
