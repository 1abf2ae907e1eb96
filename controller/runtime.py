"""Everything of one controller, wired and running: what `vnftwin controller` and `ryu-manager controller.app` share."""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import eventlet
import eventlet.tpool

from agent.a2c_policy import named_policy
from agent.decision import Policy
from controller.beats import Beats
from controller.cli_types import address
from controller.containers import ContainerEngine
from controller.descriptions import Descriptions
from controller.engines import engine_image, open_engine
from controller.executor import Shell
from controller.hosts import Hosts
from controller.journal import Journal
from controller.listening import listening_socket
from controller.logs import carrying, set_up_logs
from controller.loop import Loop
from controller.metrics import ControllerMetrics
from controller.news import LOOK_S
from controller.ports import OvsPorts
from controller.records import Mode
from controller.rest import needs_token
from controller.service import POLL_S, Service
from controller.telemetry import Telemetry
from controller.tick import Decider
from controller.tls import tls_files
from controller.twin_watch import TwinWatch
from controller.web import Web
from controller.wired_ports import Plumbers, WiredPorts
from controller.would_have import WouldHave
from twin.errors import InputError, VnftwinError
from twin.feasibility import Limits
from twin.forecast import Forecaster
from twin.scenario import Scenario
from twin.scenario_dump import dump_scenario

log = logging.getLogger("vnftwin.runtime")
BEAT_S = 0.02
KEEP_S = 0.2


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """How a controller is to run. `listen_fd` is an inherited listening socket, used instead of `listen`."""

    policy: str = ""
    twin: str = ""
    mode: str = "auto"
    confirm: bool = True  # prove a new way by packets before the old one is given up
    seed: int = 1
    listen: tuple[str, int] = ("127.0.0.1", 8080)
    listen_fd: int = -1
    openflow: tuple[str, int] = ("127.0.0.1", 6653)
    journal: Path = Path("vnftwin-journal.db")
    control_root: Path | None = None
    token: str = ""
    log_format: str = "auto"
    log_level: str = "info"
    openflow_tls: Path | None = None  # folder with key.pem, cert.pem, and ca.pem by which switches are checked


class Runtime:
    """One controller: made before its switches connect, started by the Ryu application."""

    def __init__(self, scenario: Scenario, options: RuntimeOptions) -> None:
        self.scenario, self.options = scenario, options
        self._beats = Beats()
        self.journal = Journal(options.journal)
        self._note()
        self.journal.note_start(time.monotonic())
        shell = Shell(time.monotonic, eventlet.sleep)
        engines = _engines(scenario, options.control_root or Path("/run/vnftwin") / scenario.name)
        self.hosts = _hosts(scenario, engines)
        self.service = Service(
            scenario, telemetry=Telemetry(scenario, secrets.token_bytes(16)), hosts=self.hosts, journal=self.journal,
            shell=shell, spawn=eventlet.spawn, observe_step=self._observe_step, confirm=options.confirm,
        )  # fmt: skip
        policy = named_policy(options.policy or "a2c", scenario, seed=options.seed)
        twin = TwinWatch(
            scenario, options.twin, run_blocking=eventlet.tpool.execute, journal=str(self.journal.noted("began"))
        )
        decider, beside = (decider_of(scenario, policy, twin) for _ in range(2))
        decider.warm_up(self.service.builder.build(time.monotonic()), self.service.routes())
        self.loop = Loop(
            self.service, decider, self.journal, mode=Mode(options.mode), observe_decision=self._observe_decision,
            would_have=WouldHave(scenario, beside), twin=twin,
        )  # fmt: skip
        self.descriptions = Descriptions(self.service, self.loop, handler_errors=self._handler_errors)
        self.metrics = self.descriptions.prometheus = ControllerMetrics(self.descriptions)
        self.web = Web(self.service, self.loop, self.descriptions, token=options.token)

    def switch_name(self, dpid: int) -> str:
        return self.service.telemetry.discovery.switch_name(dpid)

    def start(self) -> None:
        """Begins to serve; returns at once."""
        beats, service = self._beats, self.service
        beats.once(lambda: self.web.serve(self._listener()))
        beats.once(self._set_up)
        beats.every(BEAT_S, service.beat)
        beats.every(POLL_S, service.poll)
        # half a period off the poll: it is to measure a barrier, not the statistics before it
        beats.every(POLL_S, service.barriers.measure, after_s=POLL_S / 2)
        beats.every(KEEP_S, service.keep)
        beats.every(self.scenario.period_s, self.loop.tick)
        beats.every(LOOK_S, self.web.look)

    def stop(self) -> None:
        """Ends the loop. Switches keep their rules and VNFs go on: packets flow without us."""
        self._beats.stop()
        self.journal.close()

    def _set_up(self) -> None:
        try:
            self.service.set_up()
        except VnftwinError as error:
            log.error("set-up failed: %s", error)
            os.kill(os.getpid(), signal.SIGTERM)

    def _listener(self) -> socket.socket:
        if self.options.listen_fd >= 0:
            return socket.socket(fileno=self.options.listen_fd)
        return listening_socket(*self.options.listen)

    def _observe_step(self, step: str, took_s: float) -> None:
        self.metrics.step_s.labels(step).observe(took_s)

    def _observe_decision(self, took_s: float) -> None:
        self.metrics.decision_s.observe(took_s)

    def _handler_errors(self) -> int:
        from controller.ryu_compat import handler_errors

        return self._beats.errors + sum(handler_errors().values())

    def _note(self) -> None:
        """InputError where the journal is that of another scenario: its moves are none of this one's."""
        earlier = self.journal.noted("scenario")
        if earlier not in (None, self.scenario.name):
            self.journal.close()
            raise InputError(f"journal {self.options.journal} is of scenario {earlier}: name another with --journal")
        for key, value in (
            ("scenario", self.scenario.name),
            ("scenario_text", dump_scenario(self.scenario)),
            ("source", str(self.scenario.source or "")),
            ("policy", self.options.policy or "a2c"),
            ("seed", self.options.seed),
            ("began", time.time()),
        ):
            self.journal.note(key, value)


def decider_of(scenario: Scenario, policy: Policy, forecaster: Forecaster) -> Decider:
    """One that has seen nothing yet; several may share a forecaster."""
    return Decider(scenario, policy, forecaster, limits=Limits(), clock=time.perf_counter)


def serve(scenario: Scenario, options: RuntimeOptions) -> int:
    """Runs a controller in this process until SIGTERM or SIGINT."""
    from controller.ryu_compat import Manager

    tls = tls_files(options.openflow_tls)
    set_up_logs(sys.stderr, style=options.log_format, level=options.log_level)
    runtime = Runtime(scenario, options)
    host, port = options.openflow
    manager = Manager(["controller.app"], ofp_listen_host=host, ofp_port=port, tls=tls, context={"runtime": runtime})
    manager.stop_on_signals()
    manager.run()
    return 0


def runtime_from_environment() -> Runtime:
    """For `ryu-manager controller.app`. InputError when VNFTWIN_SCENARIO is not set, or what is set is not sound."""
    from twin.scenario_file import load_scenario

    set_up_logs(sys.stderr)
    name = os.environ.get("VNFTWIN_SCENARIO")
    if not name:
        raise InputError("set VNFTWIN_SCENARIO to a scenario file before ryu-manager controller.app")
    options = options_of(os.environ)
    if needs_token(options.listen[0]) and not options.token:
        raise InputError(f"listening on {options.listen[0]} needs a bearer token: set VNFTWIN_TOKEN")
    return Runtime(load_scenario(name), options)


def options_of(environment: Mapping[str, str]) -> RuntimeOptions:
    """What VNFTWIN_POLICY, _TWIN, _MODE, _LISTEN, _JOURNAL and _TOKEN say. InputError for no address and no mode."""

    def said(name: str, otherwise: str = "") -> str:
        return environment.get(f"VNFTWIN_{name}") or otherwise

    mode = said("MODE", "auto")
    if mode not in tuple(Mode):
        raise InputError(f"VNFTWIN_MODE: {mode!r} is not one of {', '.join(Mode)}")
    try:
        listen = address(said("LISTEN", "127.0.0.1:8080"))
    except argparse.ArgumentTypeError as error:
        raise InputError(f"VNFTWIN_LISTEN: {error}") from None
    journal = Path(said("JOURNAL", "vnftwin-journal.db"))
    return RuntimeOptions(
        policy=said("POLICY"), twin=said("TWIN"), mode=mode, listen=listen, journal=journal, token=said("TOKEN")
    )


def _engines(scenario: Scenario, control_root: Path) -> Mapping[str, ContainerEngine]:
    """The engine of every server; servers with the same URL share one."""
    missing = [server.id for server in scenario.servers if not server.engine]
    if missing:
        raise InputError(f"the scenario names no container engine for {', '.join(missing)} (key `engine`)")
    unwired = [server.id for server in scenario.servers if not (server.ports or server.bridge)]
    if unwired:
        raise InputError(f"no switch ports for the VNFs of {', '.join(unwired)}: give `bridge`, or `ports`")
    by_url = {
        (url, tls): open_engine(
            url, tls=tls, run_id=scenario.name, control_root=control_root,
            servers={s.id: s.cgroup for s in scenario.servers if (s.engine, s.engine_tls) == (url, tls)},
        )
        for url, tls in dict.fromkeys((server.engine, server.engine_tls) for server in scenario.servers)
    }  # fmt: skip
    return {server.id: by_url[server.engine, server.engine_tls] for server in scenario.servers}


def _hosts(scenario: Scenario, engines: Mapping[str, ContainerEngine]) -> Hosts:
    images = {id(engine): engine_image(engine) for engine in dict.fromkeys(engines.values())}
    return Hosts(
        scenario, engines, Plumbers(OvsPorts(scenario.name), WiredPorts(scenario.name, engines)), run_id=scenario.name,
        images={server: images[id(engine)] for server, engine in engines.items()},
        run_blocking=carrying(eventlet.tpool.execute),
    )  # fmt: skip
