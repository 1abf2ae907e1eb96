"""TCP connections through VNFs that rewrite addresses: real switches, VNFs and kernels, judged by both ends."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from controller.control_socket import ask_socket
from controller.run import LiveRun, RunOptions, Watcher, run_live

pytestmark = [
    pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.skipif(os.geteuid() != 0, reason="root"),
]  # fmt: skip

NUMBERS = "cpu_base: 0.004, cpu_per_mbps: 0.01, memory_mb: 16, state_mb: 1, service_ms: 0.05"
SCENARIO = f"""
schema: 1
name: tcp
period_s: 4
switches: [left, middle, right]
servers:
  - {{id: e1, tier: edge, at: left, cpu_cores: 0.3, memory_mb: 256}}
  - {{id: e2, tier: edge, at: right, cpu_cores: 0.3, memory_mb: 256}}
  - {{id: c1, tier: core, at: middle, cpu_cores: 0.5, memory_mb: 512}}
links:
  - {{a: left, b: middle, bandwidth_mbps: 50, delay_ms: 1}}
  - {{a: middle, b: right, bandwidth_mbps: 50, delay_ms: 1}}
endpoints:
  - {{id: u, at: left}}
  - {{id: v, at: left}}
  - {{id: web, at: right}}
vnf_types:
  firewall: {{{NUMBERS}}}
  nat: {{{NUMBERS}}}
  monitor: {{{NUMBERS}}}
  balancer: {{{NUMBERS}, config: {{backend: [10.9.0.1, 10.9.0.2]}}}}
chains:
  - {{id: shop, from: u, to: web, vnfs: [firewall, nat, monitor, balancer], max_delay_ms: 60,
     traffic: {{profile: constant, mean_mbps: 0.4}}, flow: {{proto: tcp, dst_port: 80}}}}
  - {{id: plain, from: v, to: web, vnfs: [monitor], max_delay_ms: 60,
     traffic: {{profile: constant, mean_mbps: 0.1}}, flow: {{proto: tcp, dst_port: 80}}}}
placement: {{shop: [e1, c1, e2, c1], plain: [c1]}}
"""
MOVES = (("shop.nat", "e1"), ("shop.balancer", "e2"), ("shop.monitor", "c1"), ("plain.monitor", "e1"))
EXTERNAL = "10.255.1.2"


def _live(tmp_path: Path, action: Callable[[LiveRun], None]) -> None:
    scenario = tmp_path / "tcp.yaml"
    scenario.write_text(SCENARIO)
    options = RunOptions(str(scenario), 1.0, "stay", 1, "process", tmp_path, ("127.0.0.1", 0))
    run_live(options, Watcher(), actions=[action])


def _counters(run: LiveRun) -> Mapping[str, Mapping[str, Any]]:
    """What every VNF says of itself, by its id."""
    folders = sorted((Path(str(run.ready["scenario"])).parent / "control").glob("*/instance.json"))
    return {
        match[1]: ask_socket(file.parent, file.parent.name, "counters")
        for file in folders
        if (match := re.search(r"-((?:shop|plain)\.\w+)-\d+$", file.parent.name))
    }


def _entries(run: LiveRun, switch: str, priority: int) -> int:
    """Packets that met the rules of a priority in table 0, as Open vSwitch says."""
    bridge = f"unix:{run.ready['ovs_rundir']}/{switch}.mgmt"
    enter = ["nsenter", "-t", str(run.bed_pid), "-n", "-m", "-p", "--"]
    dump = ["ovs-ofctl", "-O", "OpenFlow13", "dump-flows", bridge, "table=0"]
    said = subprocess.run([*enter, *dump], capture_output=True, text=True, check=True, timeout=20).stdout
    return sum(int(n) for n in re.findall(rf"n_packets=(\d+), .*priority={priority},", said))


def _stop(run: LiveRun) -> Mapping[str, Any]:
    run.bed.send("tcp_stop")
    chains: Mapping[str, Any] = run.bed.wait_for("tcp_ledger", timeout_s=20)["chains"]
    return chains


def _whole(account: Mapping[str, Any], connections: int) -> None:
    """Every connection was made and kept, every byte arrived, both ways."""
    counts = {key: account[key] for key in ("refused", "reset", "ended", "incomplete", "wrong_words")}
    assert counts == dict.fromkeys(counts, 0), account
    assert (account["connections"], account["established"]) == (connections, connections)
    for direction in ("there", "back"):
        assert account[direction]["sent_bytes"] == account[direction]["received_bytes"] > 0, account


def test_connections_through_a_nat_and_a_balancer_work_and_survive_moves(tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    def act(run: LiveRun) -> None:
        run.bed.send("tcp_start", chain="shop", connections=20, messages_per_s=8, message_bytes=3000)
        run.bed.send("tcp_start", chain="plain", connections=5, messages_per_s=20, message_bytes=200)
        time.sleep(3)
        seen["entries"] = {s: (_entries(run, s, 300), _entries(run, s, 310)) for s in ("left", "middle", "right")}
        seen["counters"] = _counters(run)
        for vnf, server in MOVES:
            record = run.client.wait_migration(run.client.move(vnf, server)["id"], timeout_s=30)
            assert record["status"] == "done", record
        time.sleep(2)
        seen["ledger"] = _stop(run)

    _live(tmp_path, act)
    shop, plain = seen["ledger"]["shop"], seen["ledger"]["plain"]
    _whole(shop, 20)
    _whole(plain, 5)
    assert shop["peers"] == [EXTERNAL]
    assert plain["peers"] == ["10.0.0.2"]
    assert all(min(counts) > 100 for counts in seen["entries"].values()), seen["entries"]
    there_only = seen["counters"]["plain.monitor"]["tx_packets"]
    assert there_only > 0
    for vnf in ("firewall", "nat", "monitor", "balancer"):
        counters = seen["counters"][f"shop.{vnf}"]
        assert counters["tx_packets"] > 500, counters
        assert counters["dropped_packets"] == 0, counters
    flows = seen["counters"]["shop.nat"]["flows"]
    assert len(flows) == 10  # the largest, of twenty
    assert {row["address"] for row in seen["counters"]["shop.balancer"]["backends"] if row["packets"]} == {
        "10.9.0.1", "10.9.0.2",
    }  # fmt: skip


def test_a_load_that_cannot_be_is_an_error_in_words(tmp_path: Path) -> None:
    errors: list[str] = []

    def act(run: LiveRun) -> None:
        run.bed.send("tcp_start", chain="nowhere")
        run.bed.send("tcp_start", chain="shop", connections=0)
        errors.extend(str(run.bed.wait_for("error", timeout_s=10)["message"]) for _ in range(2))

    _live(tmp_path, act)
    assert "'nowhere' is no chain of TCP" in errors[0]
    assert "0 connections" in errors[1]
