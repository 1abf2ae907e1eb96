"""Reading scenario files: what a good one means, and that everything wrong in a bad one is told once, with its line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from twin.errors import InputError, ScenarioError
from twin.move_limits import MoveLimits
from twin.scenario import BurstTraffic, DiurnalTraffic, Link, Scenario, Switch, TraceTraffic
from twin.scenario_file import dump_scenario, load_scenario, parse_scenario, summarise

GOOD = """\
schema: 1
name: tiny
period_s: 5
objective: {delay: 0.7, energy: 0.3}
power: {idle_w: 100, sleep_after_s: 20}
switches: [core1, {id: edge1, dpid: 0x10}, on]
servers:
  - {id: e1, tier: edge, at: edge1, cpu_cores: 1, memory_mb: 512}
  - {id: c1, tier: core, at: core1, cpu_cores: 2, memory_mb: 4096, power: {peak_w: 250}, engine: 'ssh://c1'}
links:
  - {a: edge1, b: core1, bandwidth_mbps: 100, delay_ms: 5, name: uplink}
  - {a: core1, b: on, bandwidth_mbps: 100, delay_ms: 1.5}
endpoints:
  - {id: u1, at: edge1}
  - {id: web, at: on, ip: 10.9.0.1, mac: '0A:00:00:00:00:01', port: 7}
vnf_types:
  firewall: {cpu_base: 0.02, cpu_per_mbps: 0.01, memory_mb: 64, state_mb: 0.5, service_ms: 0.2}
  snoop: {cpu_base: 0.1, cpu_per_mbps: 0.1, memory_mb: 400, state_mb: 1, service_ms: 1, function: monitor, config: {on: [1, two]}}
chains:
  - {id: web1, from: u1, to: web, vnfs: [firewall, snoop, firewall], max_delay_ms: 40,
     traffic: {profile: diurnal, mean_mbps: 4, swing: 0.6, day_s: 1200}}
  - {id: web2, from: web, to: u1, vnfs: [snoop], max_delay_ms: 40, packet_bytes: 256, flow: {proto: tcp, dst_port: 80},
     traffic: {profile: bursts, mean_mbps: 1, burst_mbps: 3, every_s: 20, length_s: 5}}
placement: {web1: [e1, c1, e1]}
moves: [{endpoint: u1, at_s: 600, to: core1}]
"""  # noqa: E501


LINK = "\n  - {{a: {}, b: {}, bandwidth_mbps: 1, delay_ms: 1}}"


@pytest.fixture
def good() -> Scenario:
    return parse_scenario(GOOD, "tiny.yaml")


def problems(text: str, file: str = "tiny.yaml") -> list[tuple[int, str, str]]:
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(text, file)
    return [(p.line, p.subject, p.message) for p in caught.value.problems]


def edited(old: str, new: str) -> str:
    assert GOOD.count(old) == 1, f"{old!r} is {GOOD.count(old)} times in the good file"
    return GOOD.replace(old, new)


def test_switches_keep_yaml_1_1_words_as_text_and_get_their_place_as_dpid(good: Scenario) -> None:
    assert good.switches == (Switch("core1", 1), Switch("edge1", 16), Switch("on", 3))


def test_power_is_the_default_overlaid_by_the_file_and_by_the_server(good: Scenario) -> None:
    assert good.server("e1").power.idle_w == good.server("c1").power.idle_w == 100
    assert (good.server("e1").power.peak_w, good.server("c1").power.peak_w) == (150, 250)
    assert good.server("c1").power.sleep_w == 10
    assert good.server("c1").engine == "ssh://c1"


def test_links_keep_their_names(good: Scenario) -> None:
    assert good.links[0] == Link("edge1", "core1", 100, 5, "uplink")
    assert good.links[1].name == ""


def test_endpoints_get_addresses_by_their_place(good: Scenario) -> None:
    first, second = good.endpoints
    assert (first.ip, first.mac, first.port) == ("10.0.0.1", "02:00:00:00:00:01", 0)
    assert (second.ip, second.mac, second.port) == ("10.9.0.1", "0a:00:00:00:00:01", 7)


def test_vnfs_are_numbered_where_a_type_repeats_in_its_chain(good: Scenario) -> None:
    assert [vnf.id for vnf in good.vnfs] == ["web1.firewall.1", "web1.snoop", "web1.firewall.2", "web2.snoop"]
    assert [vnf.index for vnf in good.vnfs] == [0, 1, 2, 0]
    assert good.vnfs[1].type.function == "monitor"
    assert good.vnfs[1].type.config == {"on": [1, "two"]}


def test_chains_have_numbers_flows_and_traffic(good: Scenario) -> None:
    web1, web2 = good.chains
    assert (web1.number, web1.packet_bytes, web1.traffic) == (1, 512, DiurnalTraffic(4, 0.6, 1200))
    assert (web1.flow.src_ip, web1.flow.dst_ip, web1.flow.proto, web1.flow.dst_port) == (
        *("10.0.0.1", "10.9.0.1"),
        *("udp", 5001),
    )
    assert (web2.flow.proto, web2.flow.dst_port, web2.traffic) == ("tcp", 80, BurstTraffic(1, 3, 20, 5))


def test_what_is_not_placed_goes_to_the_first_server_with_room(good: Scenario) -> None:
    assert good.placement["web1.firewall.2"] == "e1"
    assert good.placement["web2.snoop"] == "c1"  # 64 + 64 + 400 MB are more than the 512 of e1
    assert parse_scenario(edited("memory_mb: 512}", "memory_mb: 528}")).placement["web2.snoop"] == "e1"


def test_first_fit_tries_the_largest_first_before_giving_up() -> None:
    text = edited("placement: {web1: [e1, c1, e1]}\n", "").replace("memory_mb: 4096", "memory_mb: 450")
    text = text.replace("memory_mb: 512}", "memory_mb: 530}")
    hosts = parse_scenario(text).placement.hosts
    assert {hosts["web1.snoop"], hosts["web2.snoop"]} == {"e1", "c1"}


@pytest.mark.parametrize(
    ("old", "new", "line", "subject", "message"),
    [
        ("schema: 1", "schema: 2", 1, "scenario", "this version reads schema 1"),
        ("name: tiny", "name: Tiny", 2, "scenario", "lower-case"),
        ("period_s: 5", "period_s: 0", 3, "scenario", "period_s must be above 0, not 0"),
        ("period_s: 5", "period: 5", 3, "scenario", "unknown key 'period' (did you mean 'period_s'?)"),
        ("period_s: 5", "period_s:", 3, "scenario", "period_s has no value"),
        ("period_s: 5\n", "", 1, "scenario", "lacks 'period_s'"),
        ("period_s: 5\n", "period_s: 5\nperiod_s: 6\n", 4, "scenario", "'period_s' is given twice"),
        ("delay: 0.7", "delay: 1.7", 4, "objective", "from 0 to 1"),
        ("{delay: 0.7, energy: 0.3}", "{delay: 0, energy: 0}", 4, "objective", "both 0"),
        ("idle_w: 100", "idle_w: 5", 5, "power", "sleep_w <= idle_w <= peak_w"),
        ("idle_w: 100", "idle_w: 100W", 5, "power", "number of W without unit"),
        ("dpid: 0x10", "dpid: 1", 6, "switch edge1", "dpid 0x1 is that of switch core1"),
        ("dpid: 0x10", "dpid: 010", 6, "switch edge1", "octal"),
        ("dpid: 0x10", "dpid: -1", 6, "switch edge1", "must be a whole number"),
        ("{id: edge1, dpid: 0x10}, on]", "{id: edge1, dpid: 0x10}, on, on]", 6, "switch on", "given twice"),
        ("tier: edge", "tier: edgy", 8, "server e1", "did you mean 'edge'?"),
        ("at: edge1, cpu", "at: edge2, cpu", 8, "server e1", "unknown switch 'edge2' (did you mean 'edge1'?)"),
        ("cpu_cores: 1,", "cpu: 1,", 8, "server e1", "unknown key 'cpu' (did you mean 'cpu_cores'?)"),
        ("cpu_cores: 1,", "cpu_cores: 0.1,", 24, "placement", "its 2 VNFs need 0.12 cores at mean traffic"),
        ("cpu_cores: 1,", "cpu_cores: 010,", 8, "server e1", "octal: write 10"),
        ("cpu_cores: 1,", "cpu_cores: '1',", 8, "server e1", "without unit or quotes"),
        ("cpu_cores: 1,", "cpu_cores: [1],", 8, "server e1", "not a list"),
        ("memory_mb: 512}", "memory_mb: -512}", 8, "server e1", "above 0"),
        ("memory_mb: 512}", "memory: 512}", 8, "server e1", "did you mean 'memory_mb'?"),
        ("{id: web2,", "{id: web.2,", 22, "chain web.2", "letters, digits"),
        ("port: 7}", "port: 7}\n  - {id: u1, at: on}", 16, "endpoint u1", "is given twice"),
        ("'ssh://c1'", "'c1'", 9, "server c1", "engine must start with one of"),
        ("delay_ms: 5, name", "delay: 5, name", 11, "link edge1-core1", "did you mean 'delay_ms'?"),
        ("delay_ms: 5, name", "delay_ms: .inf, name", 11, "link edge1-core1", "finite"),
        ("delay_ms: 1.5}", f"delay_ms: 1.5}}{LINK.format('core1', 'edge1')}", 13, "link core1-edge1", "given twice"),
        ("delay_ms: 1.5}", f"delay_ms: 1.5}}{LINK.format('on', 'on')}", 13, "link on-on", "same switch"),
        ("delay_ms: 1.5}", "delay_ms: 1.5, bandwith_mbps: 3}", 12, "link core1-on", "did you mean 'bandwidth_mbps'?"),
        ("ip: 10.9.0.1", "ip: 10.0.0.1", 15, "endpoint web", "is that of endpoint u1 already"),
        ("ip: 10.9.0.1", "ip: 10.9.0.256", 15, "endpoint web", "no IPv4 address"),
        ("'0A:00:00:00:00:01'", "'01:00:00:00:00:01'", 15, "endpoint web", "no unicast MAC"),
        (", function: monitor", "", 18, "vnf_type snoop", "lacks 'function'"),
        ("function: monitor", "function: monitr", 18, "vnf_type snoop", "did you mean 'monitor'?"),
        ("to: web, vnfs", "to: wep, vnfs", 20, "chain web1", "unknown endpoint 'wep' (did you mean 'web'?)"),
        ("to: web, vnfs", "to: u1, vnfs", 20, "chain web1", "where the chain comes from"),
        ("[snoop]", "[snop]", 22, "chain web2", "unknown VNF type 'snop' (did you mean 'snoop'?)"),
        ("[snoop]", "[]", 22, "chain web2", "vnfs must not be empty"),
        ("[snoop]", "snoop", 22, "chain web2", "must be a list"),
        ("packet_bytes: 256", "packet_bytes: 25.6", 22, "chain web2", "whole number"),
        ("packet_bytes: 256", "packet_bytes: 25", 22, "chain web2", "from 64 to 9000"),
        ("proto: tcp", "proto: sctp", 22, "chain web2 flow", "one of udp, tcp, any"),
        ("profile: bursts", "profile: burst", 23, "chain web2 traffic", "did you mean 'bursts'?"),
        ("swing: 0.6", "swing: 1.6", 21, "chain web1 traffic", "from 0 to 1"),
        ("burst_mbps: 3", "burst_mbps: 0.5", 23, "chain web2 traffic", "below mean_mbps"),
        ("length_s: 5", "length_s: 50", 23, "chain web2 traffic", "longer than every_s"),
        ("length_s: 5", "length_s: 5, phase: 1", 23, "chain web2 traffic", "unknown key 'phase'"),
        ("[e1, c1, e1]", "[e1, c1]", 24, "placement", "names 2 servers for 3 VNFs"),
        ("[e1, c1, e1]", "[e1, c11, e1]", 24, "placement", "unknown server 'c11' (did you mean 'c1'?)"),
        ("[e1, c1, e1]", "[e1, e1, e1]", 24, "placement", "impossible on server 'e1'"),
        ("{web1: [e1", "{web3: [c1], web1: [e1", 24, "placement", "web3 is no chain"),
        ("to: core1}]", "to: core9}]", 25, "moves[1]", "unknown switch 'core9'"),
        ("at_s: 600", "at_s: -1", 25, "moves[1]", "at least 0"),
        ("endpoint: u1,", "endpoint: u9,", 25, "moves[1]", "unknown endpoint 'u9'"),
    ],
)
def test_one_mistake_is_told_once_with_its_line(old: str, new: str, line: int, subject: str, message: str) -> None:
    found = problems(edited(old, new))
    assert [(p[0], p[1]) for p in found] == [(line, subject)], found
    assert message in found[0][2]


def test_everything_wrong_is_told_at_once_by_line() -> None:
    text = (
        edited("delay_ms: 5, name", "delay: 5, name").replace("swing: 0.6", "swing: 6").replace("at_s: 600", "at_s: x")
    )
    text = text.replace("[e1, c1, e1]", "[e1, e1, e1]")
    assert [line for line, _, _ in problems(text)] == [11, 21, 24, 25]


def test_problems_print_as_file_line_object_message() -> None:
    with pytest.raises(ScenarioError, match=r"^some/tiny.yaml:3: scenario: period_s must be above 0, not 0$") as caught:
        parse_scenario(edited("period_s: 5", "period_s: 0"), "some/tiny.yaml")
    assert caught.value.exit_code == 2


def test_what_no_path_joins_is_unreachable() -> None:
    text = edited("  - {a: core1, b: on, bandwidth_mbps: 100, delay_ms: 1.5}\n", "")
    assert [(line, subject) for line, subject, _ in problems(text)] == [(14, "endpoint web")]
    text = edited("to: core1}]", "to: far}]").replace("on]", "on, far]")
    assert [(line, subject) for line, subject, _ in problems(text)] == [(25, "moves[1]")]


def test_a_vnf_that_fits_nowhere() -> None:
    found = problems(edited("memory_mb: 400", "memory_mb: 5000").replace("placement: {web1: [e1, c1, e1]}\n", ""))
    assert [p[:2] for p in found] == [(20, "chain web1"), (22, "chain web2")]
    assert "no server has room for web1.snoop (0.5 cores at mean traffic and 5000 MB)" in found[0][2]


def test_the_steering_tag_bounds_chains_and_vnfs() -> None:
    assert "room for 7" in problems(edited("[snoop]", f"[{', '.join(['firewall'] * 8)}]"))[0][2]
    chain = "  - {id: x%d, from: u1, to: web, vnfs: [firewall], max_delay_ms: 9, "
    chain += "traffic: {profile: constant, mean_mbps: 0}}\n"
    room = edited("cpu_cores: 2, memory_mb: 4096", "cpu_cores: 20, memory_mb: 40960")
    parse_scenario(room.replace("placement:", "".join(chain % n for n in range(124)) + "placement:"))
    many = room.replace("placement:", "".join(chain % n for n in range(125)) + "placement:")
    assert [message for _, _, message in problems(many)] == ["chains are 127; the steering tag has room for 126"]


def test_two_chains_with_one_flow() -> None:
    text = edited("flow: {proto: tcp, dst_port: 80}", "flow: {dst_port: 5001}").replace(
        "from: web, to: u1", "from: u1, to: web"
    )
    assert [p[:2] for p in problems(text)] == [(22, "chain web2")]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "is empty"),
        ("# only a comment\n", 1, "is empty"),
        ("- a\n", 1, "must be a mapping"),
        ("schema: 1\nname: [a\n", 3, "expected"),
        ("schema: 1\n\tname: x\n", 2, "cannot start any token"),
        ("schema: 1\n---\nschema: 1\n", 2, "another document"),
        ("schema: *x\n", 1, "undefined alias"),
        ("\x07", 1, "special characters are not allowed"),
        ("[" * 5000, 1, "nested too deeply"),
        ("&a {<<: {<<: *a}}", 1, "nested too deeply"),
    ],
)
def test_what_is_no_scenario_at_all(text: str, line: int, message: str) -> None:
    found = problems(text)
    assert found[0][0] == line
    assert message in found[0][2]


def test_no_python_object_is_ever_made_from_a_file(tmp_path: Path) -> None:
    trap = tmp_path / "made"
    text = edited(
        "{on: [1, two]}", f"{{x: !!python/object/apply:pathlib.Path.touch [!!python/object:pathlib.Path ['{trap}']]}}"
    )
    parse_scenario(text)  # a tag of a list is not looked at: it stays a list
    assert "could not determine a constructor" in problems(edited("[1, two]", "!!python/name:os.system x"))[0][2]
    assert not trap.exists()


def test_anchors_and_merge_keys_work() -> None:
    text = edited("{a: edge1, b: core1, bandwidth_mbps: 100,", "&l {a: edge1, b: core1, bandwidth_mbps: 70,")
    text = text.replace("{a: core1, b: on, bandwidth_mbps: 100, delay_ms: 1.5}", "{<<: *l, a: core1, b: on}")
    assert parse_scenario(text).links[1] == Link("core1", "on", 70, 5, "uplink")


def test_a_dumped_scenario_reads_back_equal(good: Scenario) -> None:
    assert parse_scenario(dump_scenario(good), "tiny.yaml") == good


def test_summary_counts_and_compares(good: Scenario) -> None:
    text = summarise(good)
    assert "3 switches, 2 links, 2 servers (1 edge, 1 core), 2 endpoints, 2 chains with 4 VNFs" in text
    assert "CPU at mean traffic: 0.87 of 3 cores (29%)" in text  # 2 · 0.06 + 0.5 + (0.1 + 0.1 · 1.5)
    assert "u1 -> firewall@e1 -> snoop@c1 -> firewall@e1 -> web" in text


def with_trace(folder: Path, csv: str) -> str:
    (folder / "load.csv").write_text(csv)
    return edited(
        "{profile: bursts, mean_mbps: 1, burst_mbps: 3, every_s: 20, length_s: 5}", "{profile: trace, file: load.csv}"
    )


def test_a_trace_is_read_beside_the_scenario(tmp_path: Path) -> None:
    csv = "time_s,chain,mbps\n0,web2,1.5\n0,other,9\n10,web2,2\n\n20,web2,0\n"
    file = tmp_path / "tiny.yaml"
    file.write_text(with_trace(tmp_path, csv))
    scenario = load_scenario(file)
    assert scenario.chain("web2").traffic == TraceTraffic(tmp_path / "load.csv", ((0, 1.5), (10, 2), (20, 0)))
    again = parse_scenario(dump_scenario(scenario), "elsewhere/tiny.yaml")
    assert replace(again, source=file) == scenario


@pytest.mark.parametrize(
    ("csv", "line", "message"),
    [
        ("time,chain,mbps\n0,web2,1\n", 1, "lacks the column time_s"),
        ("time_s,chain,mbps\n0,web2,1\n5,web2,fast\n", 3, "finite numbers"),
        ("time_s,chain,mbps\n0,web2,nan\n5,web2,1\n", 2, "finite numbers"),
        ("time_s,chain,mbps\n0,web2,-1\n5,web2,1\n", 2, "negative"),
        ("time_s,chain,mbps\n5,web2,1\n5,web2,1\n", 3, "time_s must grow"),
        ("time_s,chain,mbps\n5,web2\n6,web2,1\n", 2, "has 2 fields, not 3"),
    ],
)
def test_what_is_wrong_in_a_trace_is_told_with_its_line(tmp_path: Path, csv: str, line: int, message: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(with_trace(tmp_path, csv), tmp_path / "tiny.yaml")
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == (str(tmp_path / "load.csv"), line)
    assert message in problem.message


def test_a_trace_that_is_not_there_or_lacks_the_chain(tmp_path: Path) -> None:
    text = with_trace(tmp_path, "time_s,chain,mbps\n0,web1,1\n")
    assert "no row of chain 'web2'" in problems(text, str(tmp_path / "tiny.yaml"))[0][2]
    (tmp_path / "load.csv").unlink()
    line, subject, message = problems(text, str(tmp_path / "tiny.yaml"))[0]
    assert (line, subject) == (23, "chain web2 traffic")
    assert "can't be read: No such file" in message


def test_a_file_wins_over_a_shipped_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_scenario("small").name == "small"
    Path("small").write_text(GOOD)
    assert load_scenario("small").name == "tiny"


def test_what_is_no_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"smal: no such file .*did you mean 'small'.*shipped are abilene, medium, small$"
    ):
        load_scenario("smal")
    with pytest.raises(InputError, match="is a folder"):
        load_scenario(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9")
    with pytest.raises(InputError, match=r"is not UTF-8 text \(byte 9\)"):
        load_scenario(tmp_path / "latin.yaml")


def test_limits_are_optional_and_each_of_them_is(good: Scenario) -> None:
    assert good.limits == MoveLimits()
    some = parse_scenario(GOOD + "limits: {cooldown_s: 7.5, max_parallel: 1, min_gain: -0.5}\n", "tiny.yaml")
    assert some.limits == replace(MoveLimits(), cooldown_s=7.5, max_parallel=1, min_gain=-0.5)
    assert parse_scenario(dump_scenario(some), "tiny.yaml").limits == some.limits


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ("{cooldown_s: -1}", "cooldown_s must be at least 0, not -1"),
        ("{moves_per_minute: 0}", "moves_per_minute must be from 1 to 1000, not 0"),
        ("{moves_per_server_minute: 2000}", "moves_per_server_minute must be from 1 to 1000, not 2000"),
        ("{max_parallel: 0}", "max_parallel must be from 1 to 126, not 0"),
        ("{min_gain: 5}", "min_gain must be from -1 to 1, not 5"),
        ("{min_gain_again: -2}", "min_gain_again must be from -1 to 1, not -2"),
        ("{failed_rest_s: -3}", "failed_rest_s must be at least 0, not -3"),
        ("{cooldown: 3}", "unknown key 'cooldown' (did you mean 'cooldown_s'?)"),
        ("[1]", "must be a mapping, not a list"),
    ],
)
def test_a_wrong_limit_is_told_where_it_stands(limits: str, message: str) -> None:
    line = GOOD.count("\n") + 1
    assert problems(GOOD + f"limits: {limits}\n") == [(line, "limits", message)]
