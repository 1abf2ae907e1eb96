"""The REST interface (docs/rest.md): a WSGI application over one `Api`, without any state of its own."""

from __future__ import annotations

import hmac
import importlib.metadata
import ipaddress
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from routes import Mapper
from webob import Request, Response

from controller.bodies import BadRequest, read_body
from controller.feed import Readers, TooManyReaders
from controller.openapi import ENDPOINTS, METHODS, PAGE, Endpoint, document
from controller.origin import foreign_origin
from controller.page_files import page_file, page_files
from controller.records import Mode, Refused, UnknownName
from twin.errors import InputError

log = logging.getLogger("vnftwin.rest")
PROMETHEUS_TEXT = "text/plain; version=0.0.4; charset=utf-8"


class Api(Protocol):
    """What REST asks of the controller."""

    def describe(self, what: str) -> object: ...

    def describe_migration(self, ident: str) -> Mapping[str, object]: ...

    def request_migration(self, vnf: str, target: str, key: str | None) -> Mapping[str, object]: ...

    def what_if(self, vnf: str, target: str) -> Mapping[str, object]: ...

    def accept_proposal(self, ident: str) -> Mapping[str, object]: ...

    def dismiss_proposal(self, ident: str) -> Mapping[str, object]: ...

    def set_mode(self, mode: Mode) -> None: ...

    def take_twin(self, file: str) -> Mapping[str, object]: ...

    def not_ready(self) -> str: ...

    def metrics(self) -> bytes: ...


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
        method = "GET" if request.method == "HEAD" else request.method
        endpoint, parts = self._find(request.environ, method)
        if endpoint is None:
            return self._not_found(request)
        if foreign := foreign_origin(request, guarded=bool(self._token)):
            return _reply(403, {"error": foreign})
        if not endpoint.public and not self._authorised(request):
            return _reply(401, {"error": "bearer token missing or wrong"}, headers=[("WWW-Authenticate", "Bearer")])
        try:
            given = {} if endpoint.body is None else {"body": read_body(request, endpoint.body)}
            reply: Response = getattr(self, f"_do_{endpoint.action}")(request, **endpoint.arguments, **parts, **given)
            return reply
        except BadRequest as error:
            return _reply(error.status, {"error": str(error)})
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

    def _find(self, environ: Mapping[str, Any], method: str) -> tuple[Endpoint | None, dict[str, str]]:
        """The endpoint of a method and path, and the path's parts."""
        found = self._map.match(environ={**environ, "REQUEST_METHOD": method})
        if found is None:
            return None, {}
        return _ALL[int(found.pop("action"))], found

    def _not_found(self, request: Request) -> Response:
        others = [m for m in METHODS if self._find(request.environ, m)[0] is not None]
        if others:
            return _reply(405, {"error": f"use {' or '.join(others)}"}, headers=[("Allow", ", ".join(others))])
        return _reply(404, {"error": f"no such path: {request.path}"})

    def _authorised(self, request: Request) -> bool:
        given = request.headers.get("Authorization", "").encode()
        return not self._token or hmac.compare_digest(given, f"Bearer {self._token}".encode())

    def _do_describe(self, _request: Request, what: str) -> Response:
        return _reply(200, self._api.describe(what))

    def _do_migration(self, _request: Request, ident: str) -> Response:
        return _reply(200, self._api.describe_migration(ident))

    def _do_migrate(self, _request: Request, body: Mapping[str, str]) -> Response:
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

    def _do_whatif(self, _request: Request, body: Mapping[str, str]) -> Response:
        return _reply(200, self._api.what_if(body["vnf"], body["target"]))

    def _do_mode(self, _request: Request, body: Mapping[str, str]) -> Response:
        self._api.set_mode(Mode(body["mode"]))
        return _reply(200, {"mode": body["mode"]})

    def _do_openapi(self, _request: Request) -> Response:
        return _reply(200, document(importlib.metadata.version("vnftwin")))

    def _do_twin(self, _request: Request, body: Mapping[str, str]) -> Response:
        try:
            return _reply(200, self._api.take_twin(body["file"]))
        except UnknownName:
            raise
        except InputError as error:
            raise BadRequest(str(error)) from None

    def _do_health(self, _request: Request) -> Response:
        return _reply(200, {"ok": True})

    def _do_ready(self, _request: Request) -> Response:
        lack = self._api.not_ready()
        return _reply(503 if lack else 200, {"ready": not lack, "waiting_for": lack})

    def _do_metrics(self, _request: Request) -> Response:
        return Response(body=self._api.metrics(), headerlist=[("Content-Type", PROMETHEUS_TEXT)])


_ALL = (*ENDPOINTS, *PAGE)


def _routes() -> Mapper:
    """Routes to the numbers of `_ALL`."""
    mapper = Mapper()
    for number, endpoint in enumerate(_ALL):
        mapper.connect(endpoint.path, action=str(number), conditions={"method": [endpoint.method]})
    mapper.create_regs([])
    return mapper


def _reply(status: int, body: object, *, headers: Iterable[tuple[str, str]] = ()) -> Response:
    response = Response(json_body=body, status=status)
    response.headers.extend(headers)
    return response
