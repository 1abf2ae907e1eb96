"""What a scenario says of servers and switches that exist: cables, certificates, and what does not fit together."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from controller.docker_connection import engine_connection
from controller.rule_counts import rules_needed
from controller.rules import FORWARD, base_rules, chain_rules
from controller.runtime import _engines
from controller.steering import Attachment, steer
from controller.tls import tls_files
from tests.fakes.field import SCENARIO
from twin.errors import InputError, ScenarioError
from twin.scenario import Scenario, WiredPort
from twin.scenario_file import dump_scenario, parse_scenario


@pytest.fixture
def field() -> Scenario:
    return parse_scenario(SCENARIO, "field.yaml")


def problems(text: str) -> list[tuple[int, str, str]]:
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(text, "field.yaml")
    return [(p.line, p.subject, p.message) for p in caught.value.problems]


def edited(old: str, new: str) -> str:
    assert SCENARIO.count(old) == 1, f"{old!r} is {SCENARIO.count(old)} times in the file"
    return SCENARIO.replace(old, new)


def test_cables_are_read_and_written(field: Scenario) -> None:
    assert field.server("one").ports == (WiredPort(5, "cable5"), WiredPort(6, "cable6"))
    assert field.server("one").engine_tls.endswith("pki/engine")
    assert parse_scenario(dump_scenario(field), "again.yaml").servers == field.servers


TWO = "ssh://root@10.99.2.2',\n     ports: ["
CABLES = "{port: 5, network: cable5}, {port: 6, network: cable6}]"


def test_the_network_of_a_cable_has_a_default_name() -> None:
    text = edited(TWO + "{port: 5, network: cable5}", TWO + "{port: 5}")
    assert parse_scenario(text, "field.yaml").server("two").ports[0] == WiredPort(5, "vnf5")


@pytest.mark.parametrize(
    ("old", "new", "subject", "message"),
    [
        (TWO + "{port: 5,", TWO + "{port: 1,", "server two ports[1]", "is that of endpoint web"),
        (TWO + "{port: 5,", TWO + "{port: 6,", "server two ports[2]", "is that of server two ports[1]"),
        (TWO + "{port: 5, network: cable5", TWO + "{port: 5, network: cable6", "server two ports[2]", "ports cable6"),
        (TWO + "{port: 5,", TWO + "{port: five,", "server two ports[1]", "must be a whole number"),
        (TWO + CABLES, "ssh://x', ports: 5", "server two", "must be a list"),
    ],
)
def test_cables_that_cannot_be(old: str, new: str, subject: str, message: str) -> None:
    found = problems(edited(old, new))
    assert [(who, message in what) for _, who, what in found] == [(subject, True)], found


def test_more_vnfs_than_cables() -> None:
    crowded = edited("vnfs: [firewall, monitor]", "vnfs: [firewall, monitor, firewall]")
    ((_, subject, message),) = problems(crowded.replace("[one, two]", "[one, one, one]"))
    assert subject == "placement"
    assert message.endswith("and 2 switch ports")


def test_a_server_without_any_way_to_its_switch(tmp_path: Path) -> None:
    text = edited(f"engine_tls: pki/engine,\n     ports: [{CABLES}", "engine_tls: pki/engine")
    with pytest.raises(InputError, match="no switch ports for the VNFs of one: give `bridge`, or `ports`"):
        _engines(parse_scenario(text, "field.yaml"), tmp_path)


def test_missing_certificates_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"engine: no such file: .*ca\.pem, .*cert\.pem, .*key\.pem"):
        engine_connection("tcp://127.0.0.1:1", str(tmp_path))
    with pytest.raises(InputError, match=r"switches: no such file: .*key\.pem"):
        tls_files(tmp_path)


def test_certificates_that_do_not_go_together(tmp_path: Path) -> None:
    for name in ("cert", "other"):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-batch",
             "-keyout", str(tmp_path / f"{name}.key"), "-out", str(tmp_path / f"{name}.pem")],
            check=True, capture_output=True,
        )  # fmt: skip
    (tmp_path / "ca.pem").write_bytes((tmp_path / "cert.pem").read_bytes())
    (tmp_path / "key.pem").write_bytes((tmp_path / "cert.key").read_bytes())
    assert tls_files(tmp_path) is not None
    (tmp_path / "key.pem").write_bytes((tmp_path / "other.key").read_bytes())
    with pytest.raises(InputError, match="do not go together"):
        tls_files(tmp_path)


def test_needed_rules_are_an_upper_bound(field: Scenario) -> None:
    """All VNFs of the chain on one switch, and its endpoints: what then is there is less than what is reserved."""
    chain = field.chains[0]
    stops = tuple(Attachment("left", port) for port in (1, 5, 6, 2))
    rules = base_rules("left", [9]) | chain_rules(steer(1, chain.flow, stops, lambda a, _b: (a,)), {})
    classify, forward = rules_needed(field, "left")
    assert sum(rule.table != FORWARD for rule in rules) <= classify
    assert sum(rule.table == FORWARD for rule in rules) <= forward
