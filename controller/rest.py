"""The REST interface (docs/rest.md): a WSGI application over one `Api`, without any state of its own."""

from __future__ import annotations

import hmac
import ipaddress
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from routes import Mapper
from webob import Request, Response

from controller.feed import Readers, TooManyReaders
from controller.origin import foreign_origin
from controller.page_files import page_file, page_files
from controller.records import Mode, Refused, UnknownName
from twin.errors import InputError

log = logging.getLogger("vnftwin.rest")
MAX_BODY_BYTES = 65_536
OPEN = frozenset({"health", "page"})  # what a token does not guard: it shows nothing of the network


class Api(Protocol):
    """What REST asks of the controller."""

    def describe(self, what: str) -> object: ...

    def describe_migration(self, ident: str) -> Mapping[str, object]: ...

    def request_migration(self, vnf: str, target: str, key: str | None) -> Mapping[str, object]: ...

    def what_if(self, vnf: str, target: str) -> Mapping[str, object]: ...

    def accept_proposal(self, ident: str) -> Mapping[str, object]: ...

    def dismiss_proposal(self, ident: str) -> Mapping[str, object]: ...

    def set_mode(self, mode: Mode) -> None: ...

    def not_ready(self) -> str: ...

    def metrics(self) -> bytes: ...


class BadRequest(InputError):
    """A request whose body is not what the interface asks for."""


def needs_token(host: str) -> bool:
    """Whether an address to listen on is reachable from other machines."""
    if host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True


class RestApplication:
    """WSGI callable. With a `token`, all but the page's own files and `/healthz` want `Authorization: Bearer TOKEN`.

    `readers` opens the streams of events; without it there is no such path.
    """

    def __init__(self, api: Api, *, token: str = "", readers: Readers | None = None) -> None:
        self._api, self._token, self._readers = api, token, readers
        self._files = page_files()
        self._map = _routes()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        response = self._answer(Request(environ))
        result: Iterable[bytes] = response(environ, start_response)
        return result

    def _answer(self, request: Request) -> Response:
        found = self._map.match(environ={**request.environ, "REQUEST_METHOD": request.method})
        if found is None:
            return self._not_found(request)
        if foreign := foreign_origin(request, guarded=bool(self._token)):
            return _reply(403, {"error": foreign})
        if found["action"] not in OPEN and not self._authorised(request):
            return _reply(401, {"error": "bearer token missing or wrong"})
        action = found.pop("action")
        try:
            reply: Response = getattr(self, f"_do_{action}")(request, **found)
            return reply
        except BadRequest as error:
            return _reply(400, {"error": str(error)})
        except UnknownName as error:
            return _reply(404, {"error": str(error)})
        except TooManyReaders as error:
            return _reply(503, {"error": str(error)}, headers=[("Retry-After", "5")])
        except Refused as error:
            said = {"detail": error.detail} if error.detail else {}
            return _reply(409, {"error": "refused", "reason": error.reason, **said})
        except Exception:
            log.exception("request failed: %s %s", request.method, request.path)
            return _reply(500, {"error": "internal error, see the log"})

    def _not_found(self, request: Request) -> Response:
        others = [m for m in ("GET", "POST", "PUT") if m != request.method and self._matches(request.path, m)]
        if others:
            return _reply(405, {"error": f"use {' or '.join(others)}"}, headers=[("Allow", ", ".join(others))])
        return _reply(404, {"error": f"no such path: {request.path}"})

    def _matches(self, path: str, method: str) -> bool:
        return self._map.match(environ={"PATH_INFO": path, "REQUEST_METHOD": method}) is not None

    def _authorised(self, request: Request) -> bool:
        given = request.headers.get("Authorization", "").encode()
        return not self._token or hmac.compare_digest(given, f"Bearer {self._token}".encode())

    def _do_describe(self, _request: Request, what: str) -> Response:
        return _reply(200, self._api.describe(what))

    def _do_migration(self, _request: Request, ident: str) -> Response:
        return _reply(200, self._api.describe_migration(ident))

    def _do_migrate(self, request: Request) -> Response:
        body = _body(request, required=("vnf", "target"), optional=("idempotency_key",))
        record = self._api.request_migration(body["vnf"], body["target"], body.get("idempotency_key"))
        return _reply(202, record, headers=[("Location", f"/api/v1/migrations/{record['id']}")])

    def _do_accept(self, _request: Request, ident: str) -> Response:
        record = self._api.accept_proposal(ident)
        return _reply(202, record, headers=[("Location", f"/api/v1/migrations/{record['id']}")])

    def _do_dismiss(self, _request: Request, ident: str) -> Response:
        return _reply(200, self._api.dismiss_proposal(ident))

    def _do_events(self, request: Request) -> Response:
        if self._readers is None:
            return _reply(404, {"error": "no events here"})
        stream = self._readers.open(request.headers.get("Last-Event-ID", ""))
        request.environ["eventlet.minimum_write_chunk_size"] = 0  # an event is sent when it is there
        headers = [("Cache-Control", "no-store"), ("X-Accel-Buffering", "no")]
        response = Response(app_iter=stream, content_type="text/event-stream", charset="utf-8")
        response.headers.extend(headers)
        return response

    def _do_page(self, request: Request, file: str) -> Response:
        return page_file(self._files, file, request)

    def _do_whatif(self, request: Request) -> Response:
        body = _body(request, required=("vnf", "target"))
        return _reply(200, self._api.what_if(body["vnf"], body["target"]))

    def _do_mode(self, request: Request) -> Response:
        wanted = _body(request, required=("mode",))["mode"]
        if wanted not in list(Mode):
            raise BadRequest(f"mode must be one of {', '.join(Mode)}")
        self._api.set_mode(Mode(wanted))
        return _reply(200, {"mode": wanted})

    def _do_health(self, _request: Request) -> Response:
        return _reply(200, {"ok": True})

    def _do_ready(self, _request: Request) -> Response:
        lack = self._api.not_ready()
        return _reply(503 if lack else 200, {"ready": not lack, "waiting_for": lack})

    def _do_metrics(self, _request: Request) -> Response:
        return Response(body=self._api.metrics(), content_type="text/plain", charset="utf-8")


def _routes() -> Mapper:
    mapper, api = Mapper(), "/api/v1"
    get, post, put = ({"method": [m]} for m in ("GET", "POST", "PUT"))
    for what in ("state", "chains", "servers", "links", "decisions", "migrations", "proposals", "topology"):
        mapper.connect(f"{api}/{what}", action="describe", what=what, conditions=get)
    mapper.connect(api + "/migrations/{ident}", action="migration", conditions=get)
    mapper.connect(f"{api}/migrations", action="migrate", conditions=post)
    for action in ("accept", "dismiss"):
        mapper.connect(f"{api}/proposals/{{ident}}/{action}", action=action, conditions=post)
    mapper.connect(f"{api}/events", action="events", conditions=get)
    mapper.connect("/", action="page", file="index.html", conditions=get)
    mapper.connect("/page/{file:.*}", action="page", conditions=get)
    mapper.connect(f"{api}/whatif", action="whatif", conditions=post)
    mapper.connect(f"{api}/mode", action="mode", conditions=put)
    for path, action in (("/healthz", "health"), ("/readyz", "ready"), ("/metrics", "metrics")):
        mapper.connect(path, action=action, conditions=get)
    mapper.create_regs([])
    return mapper


def _body(request: Request, *, required: Sequence[str], optional: Sequence[str] = ()) -> dict[str, str]:
    """The request's JSON object, whose values are all non-empty strings. BadRequest says what is wrong with it."""
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise BadRequest(f"body larger than {MAX_BODY_BYTES} bytes")
    try:
        body = json.loads(request.body)
    except ValueError as error:
        raise BadRequest(f"body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise BadRequest("body is not a JSON object")
    for name in required:
        if name not in body:
            raise BadRequest(f"missing key: {name}")
    for name, value in body.items():
        if name not in (*required, *optional):
            raise BadRequest(f"unknown key: {name}")
        if not isinstance(value, str) or not value:
            raise BadRequest(f"{name} must be a non-empty string")
    return body


def _reply(status: int, body: object, *, headers: Iterable[tuple[str, str]] = ()) -> Response:
    response = Response(json_body=body, status=status)
    response.headers.extend(headers)
    return response
