"""All that is special to Ryu 4.34 (2020, unmaintained); nothing else of the project imports `ryu`.

1. Start-up: Ryu imports a name that eventlet dropped in 0.30.3. It is put back before `ryu` is imported.
2. Parser guard: `controller.ryu_guard`, kept apart for its length.
3. TLS: Ryu takes its settings apart at the first connection and fails at the second. The context is made once.
4. Exceptions in event handlers are logged by Ryu and forgotten. Here they are counted (`handler_errors`).
5. Launchers: `Manager` within a process of ours, `main` as the `ryu-manager` command.

Importing this module applies 1 to 4. `python -m controller.ryu_compat controller.app` is what `ryu-manager
controller.app` does; the distribution installs `main` under that name too, in place of Ryu's own script. With our app
it leaves the standard library as it is; with others' alone it patches it, as Ryu's does.
"""

from __future__ import annotations

import logging
import signal
import socket
import ssl
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import eventlet
import eventlet.patcher
import eventlet.wsgi

if not hasattr(eventlet.wsgi, "ALREADY_HANDLED"):
    eventlet.wsgi.ALREADY_HANDLED = []

from ryu import cfg
from ryu.base.app_manager import AppManager, RyuApp
from ryu.controller import controller, ofp_event
from ryu.controller.handler import (
    CONFIG_DISPATCHER,
    DEAD_DISPATCHER,
    HANDSHAKE_DISPATCHER,
    MAIN_DISPATCHER,
)
from ryu.controller.handler import set_ev_cls as ryu_set_ev_cls
from ryu.lib import hub
from ryu.ofproto import ofproto_parser, ofproto_v1_3
from ryu.ofproto.ofproto_protocol import ProtocolDesc

from controller import ryu_guard
from controller.openflow import stamp
from controller.ryu_guard import MalformedMessage
from controller.tls import TlsFiles, server_context
from twin.errors import InputError, VnftwinError

__all__ = [
    "CONFIG_DISPATCHER",
    "DEAD_DISPATCHER",
    "HANDSHAKE_DISPATCHER",
    "MAIN_DISPATCHER",
    "OFP_VERSION",
    "MalformedMessage",
    "Manager",
    "RyuApp",
    "TlsFiles",
    "handler_errors",
    "hub",
    "main",
    "malformed_messages",
    "ofp_event",
    "parse_message",
    "patch",
    "send",
    "set_ev_cls",
]

log = logging.getLogger("vnftwin.ryu")
OFP_VERSION = ofproto_v1_3.OFP_VERSION
OUR_APP = "controller.app"
STOP_POLL_S = 0.1  # a signal handler may not wake green threads, so a stop is looked for this often
_handler_errors: Counter[str] = Counter()
Handler = TypeVar("Handler", bound=Callable[..., None])


def patch() -> None:
    """Makes the standard library cooperative. Call it before anything that opens sockets is imported."""
    if not eventlet.patcher.is_monkey_patched("socket"):
        eventlet.monkey_patch()


def set_ev_cls(events: Any, states: Any = None) -> Callable[[Handler], Handler]:
    """Ryu's decorator of event handlers, with a type: `events` and `states` are one or a list."""
    decorate: Callable[[Handler], Handler] = ryu_set_ev_cls(events, states)
    return decorate


def handler_errors() -> Mapping[str, int]:
    """How often an event handler (`App.handler`) or a green thread (`thread`) ended with an exception."""
    return dict(_handler_errors)


def malformed_messages() -> Mapping[str, int]:
    """How many connections were closed because of what came in by them, by the peer's host."""
    return dict(ryu_guard.malformed)


def send(datapath: Any, messages: Iterable[bytes]) -> tuple[int, ...]:
    """Sends messages of `controller.openflow` in one go and returns the transaction id of each."""
    xids, stamped = [], []
    for message in messages:
        datapath.xid = (datapath.xid + 1) & ofproto_v1_3.MAX_XID
        xids.append(datapath.xid)
        stamped.append(stamp(message, datapath.xid))
    if stamped:
        datapath.send(b"".join(stamped))
    return tuple(xids)


def parse_message(message: bytes) -> Any:
    """One OpenFlow 1.3 message as Ryu's object, without a connection. MalformedMessage where it is none."""
    return ofproto_parser.msg(ProtocolDesc(OFP_VERSION), *ofproto_parser.header(message), message)


class StreamServer(hub.StreamServer):  # type: ignore[misc]
    """Takes the place of Ryu's: the TLS context is made once, and listening ends when serving does."""

    def __init__(self, listen_info: Any, handle: Callable[[Any, Any], None], **tls: Any) -> None:
        super().__init__(listen_info, handle)
        self._serve_one = handle
        self._context = server_context(tls) if tls else None
        self._connections: set[Any] = set()
        self.handle = self._handle

    def serve_forever(self) -> None:
        try:
            super().serve_forever()
        finally:
            self.server.close()
            for connection in tuple(self._connections):
                _shut(connection)

    def _handle(self, connection: Any, address: Any) -> None:
        try:
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
        except (ssl.SSLError, OSError) as error:
            log.warning("connection from %s refused: %s", address[0], error)
            return
        self._connections.add(connection)
        try:
            self._serve_one(connection, address)
        except MalformedMessage as error:
            log.warning("connection from %s closed: %s", address[0], error)
        finally:
            self._connections.discard(connection)


def _shut(connection: Any) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        log.debug("connection was closed already")


def _event_loop(app: Any) -> None:
    """Takes the place of `RyuApp._event_loop`: the same, but what a handler raises is counted."""
    while app.is_active or not app.events.empty():
        event, state = app.events.get()
        app._events_sem.release()
        if event == app._event_stop:
            continue
        for handler in app.get_handlers(event, state):
            try:
                handler(event)
            except Exception:
                name = f"{app.name}.{handler.__name__}"
                _handler_errors[name] += 1
                log.exception("event handler %s failed on %s", name, type(event).__name__)


class _CountThreads(logging.Filter):
    """Ryu tells the death of a green thread only to its log."""

    def filter(self, record: logging.LogRecord) -> bool:
        _handler_errors["thread"] += record.levelno >= logging.ERROR
        return True


def _repair() -> None:
    ryu_guard.install()
    RyuApp._event_loop = _event_loop
    controller.StreamServer = StreamServer
    hub.LOG.addFilter(_CountThreads())


_repair()


class Manager:
    """Ryu's application manager within a process of ours; one at a time in a process.

    `apps` are module names; each app gets `context` as keyword arguments. `patch` must have been called early.
    """

    def __init__(
        self,
        apps: Sequence[str],
        *,
        ofp_listen_host: str = "127.0.0.1",
        ofp_port: int = 6653,
        tls: TlsFiles | None = None,
        context: Mapping[str, object] | None = None,
    ) -> None:
        self._apps, self._context = list(apps), dict(context or {})
        self._listen, self._tls = (ofp_listen_host, ofp_port), tls
        self._stopping = False

    def run(self) -> None:
        """Serves until `stop`. InputError where the port cannot be had; VnftwinError where serving ends by itself."""
        _check_port(*self._listen)
        self._configure()
        manager = AppManager()
        AppManager._instance = manager  # some of Ryu asks for "the" manager
        services: list[Any] = []
        try:
            manager.load_apps(self._apps)
            services += manager.instantiate_apps(**manager.create_contexts(), **self._context)
            self._wait(services)
        finally:
            for service in services:
                service.kill()
            manager.close()
            AppManager._instance = None

    def stop(self) -> None:
        """Makes `run` return; may be called from a signal handler or another thread."""
        self._stopping = True

    def stop_on_signals(self) -> None:
        """Stops in good order on SIGTERM and SIGINT, instead of an exception in whatever runs just then."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: self.stop())

    def _wait(self, services: Sequence[Any]) -> None:
        while not self._stopping:
            hub.sleep(STOP_POLL_S)
            if any(service.dead for service in services):
                raise VnftwinError("a service of the controller ended unexpectedly, see the log")

    def _configure(self) -> None:
        host, port = self._listen
        files = self._tls or TlsFiles("", "")
        cfg.CONF(args=[], project="ryu", default_config_files=[])
        for name, value in {
            "ofp_listen_host": host,
            "ofp_tcp_listen_port": port,
            "ofp_ssl_listen_port": port,
            "ctl_privkey": files.key or None,
            "ctl_cert": files.certificate or None,
            "ca_certs": files.authority or None,
        }.items():
            cfg.CONF.set_override(name, value)


def _check_port(host: str, port: int) -> None:
    """Ryu only logs that its port is taken, and goes on deaf."""
    try:
        eventlet.listen((host, port)).close()
    except OSError as error:
        raise InputError(f"cannot listen for switches on {host}:{port}: {error.strerror or error}") from None


def main(args: Sequence[str] | None = None) -> None:
    """The `ryu-manager` command, repaired; its REST server listens on loopback unless told otherwise."""
    words = list(sys.argv[1:] if args is None else args)
    if any(OUR_APP in word for word in words):
        hub.patch = _patch_nothing
    from ryu.cmd import manager  # patches the standard library when imported, and once more in `main`

    cfg.CONF.set_default("wsapi_host", "127.0.0.1")
    try:
        manager.main(args=words, prog="ryu-manager")
    except VnftwinError as error:
        sys.exit(f"ryu-manager: {error}")


def _patch_nothing(**_what: bool) -> None:
    """Instead of `eventlet.monkey_patch`. Ours calls container engines in threads of the system's, and there locks and
    events that only switch green threads never wake: paramiko, which keeps a thread of its own, then waits for ever.
    """


if __name__ == "__main__":
    from controller import ryu_compat  # this module under its real name, which the app imports as well

    ryu_compat.main()
