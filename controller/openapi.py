"""Every request that REST takes, said once: routing, checks of bodies and the OpenAPI 3.1 document are made from this.

The document is served at `/api/v1/openapi.json`; a test drives the running server by it (tests/unit/test_openapi.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from controller import openapi_schemas as schemas
from controller.openapi_schemas import Schema, reference

API = "/api/v1"
METHODS = ("GET", "POST", "PUT")


@dataclass(frozen=True, slots=True)
class Answer:
    """What comes back with one status: a schema of the JSON body, or the media type of what is not JSON."""

    text: str
    schema: Schema | None = None
    media: str = "application/json"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path. `action` names what REST does, `arguments` what it is told besides the path's parts."""

    method: str
    path: str
    action: str
    summary: str
    answers: Mapping[int, Answer]
    body: Schema | None = None
    arguments: Mapping[str, str] = field(default_factory=dict)
    public: bool = False  # answered without a token

    @property
    def parameters(self) -> list[str]:
        return [part[1:-1] for part in self.path.split("/") if part.startswith("{")]


def _list_of(what: str, summary: str, schema: str) -> Endpoint:
    answer = Answer("the list", {"type": "array", "items": reference(schema)})
    return Endpoint("GET", f"{API}/{what}", "describe", summary, {200: answer}, arguments={"what": what})


_UNKNOWN = Answer("no such VNF, server, migration, proposal or file", reference("Error"))
_REFUSED = Answer("not allowed now; `reason` is its name (docs/rest.md)", reference("Refusal"))

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "GET", f"{API}/state", "describe", "Summary of everything measured, expected and counted",
        {200: Answer("the state", reference("State"))}, arguments={"what": "state"},
    ),
    _list_of("chains", "Every service chain: placement, path, delay", "Chain"),
    _list_of("servers", "Every server: use, power, whether it sleeps", "Server"),
    _list_of("links", "Every link: delay and load", "Link"),
    _list_of("decisions", "The last 1,000 decisions, oldest first", "Decision"),
    _list_of("migrations", "The last 1,000 migrations, oldest first", "Migration"),
    _list_of("proposals", "What the policy has proposed in mode `advise`, oldest first", "Proposal"),
    Endpoint(
        "POST", f"{API}/proposals/{{ident}}/accept", "accept", "Make the move that is proposed",
        {202: Answer("begun; `Location` is its address", reference("Migration")), 404: _UNKNOWN, 409: _REFUSED},
    ),
    Endpoint(
        "POST", f"{API}/proposals/{{ident}}/dismiss", "dismiss", "Do not propose this for a while",
        {200: Answer("the proposal", reference("Proposal")), 404: _UNKNOWN, 409: _REFUSED},
    ),
    Endpoint(
        "GET", f"{API}/topology", "describe", "What the scenario says: nodes, links and chains",
        {200: Answer("the topology", reference("Topology"))}, arguments={"what": "topology"},
    ),
    Endpoint(
        "GET", f"{API}/events", "events", "All that happens, as server-sent events (docs/page.md)",
        {200: Answer("a stream without end; `Last-Event-ID` resumes it", media="text/event-stream"),
         503: Answer("too many readers", reference("Error"))},
    ),
    Endpoint(
        "GET", f"{API}/migrations/{{ident}}", "migration", "One migration with the time of each step",
        {200: Answer("the migration", reference("Migration")), 404: _UNKNOWN},
    ),
    Endpoint(
        "POST", f"{API}/migrations", "migrate", "Move a VNF",
        {202: Answer("begun; `Location` is its address", reference("Migration")), 404: _UNKNOWN, 409: _REFUSED},
        body=reference("MoveRequest"),
    ),
    Endpoint(
        "POST", f"{API}/whatif", "whatif", "What a move would change",
        {200: Answer("the prediction", reference("WhatIf")), 404: _UNKNOWN, 409: _REFUSED},
        body=reference("WhatIfRequest"),
    ),
    Endpoint(
        "PUT", f"{API}/mode", "mode", "Who decides",
        {200: Answer("the mode from now on", reference("ModeRequest"))}, body=reference("ModeRequest"),
    ),
    Endpoint(
        "POST", f"{API}/twin", "twin", "Forecast with another twin, if it is better (docs/twin.md)",
        {200: Answer("in use from now on", reference("TwinTaken")), 404: _UNKNOWN, 409: _REFUSED},
        body=reference("TwinRequest"),
    ),
    Endpoint(
        "GET", f"{API}/openapi.json", "openapi", "This document",
        {200: Answer("OpenAPI 3.1", {"type": "object"})},
    ),
    Endpoint(
        "GET", "/healthz", "health", "The process answers", {200: Answer("it does", reference("Health"))}, public=True
    ),
    Endpoint(
        "GET", "/readyz", "ready", "Packets can flow",
        {200: Answer("they can", reference("Ready")), 503: Answer("something is waited for", reference("Ready"))},
    ),
    Endpoint("GET", "/metrics", "metrics", "Metrics (docs/metrics.md)", {200: Answer("", media="text/plain")}),
)  # fmt: skip

# The page's own files: no part of the interface, and nothing in them is of the network.
PAGE = (
    Endpoint("GET", "/", "page", "The page", {}, arguments={"file": "index.html"}, public=True),
    Endpoint("GET", "/page/{file:.*}", "page", "Its files", {}, public=True),
)


def document(version: str, endpoints: Iterable[Endpoint] = ENDPOINTS) -> dict[str, Any]:
    """The OpenAPI document of this `version` of the controller."""
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "vnftwin",
            "version": version,
            "summary": "Moves virtual network functions to where a digital twin says they should run.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        # without a token where the controller listens on loopback only
        "security": [{}, {"token": []}],
        "components": {
            "schemas": schemas.SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    answers = {**endpoint.answers, **_errors(endpoint)}
    operation: dict[str, Any] = {
        "operationId": "_".join([endpoint.action, *endpoint.arguments.values()]),
        "summary": endpoint.summary,
        "responses": {str(status): _response(answers[status]) for status in sorted(answers)},
    }
    if endpoint.parameters:
        text = {"type": "string", "minLength": 1}
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": text} for name in endpoint.parameters
        ]
    if endpoint.body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": endpoint.body}}}
    if endpoint.public:
        operation["security"] = [{}]
    return operation


def _errors(endpoint: Endpoint) -> dict[int, Answer]:
    """What any endpoint of its kind may answer besides."""
    told = {403: "asked for by a page of another origin", 500: "a defect; the log says more"}
    if not endpoint.public:
        told[401] = "token missing or wrong"
    if endpoint.body is not None:
        told |= {400: "not what is asked for", 411: "no length given", 413: "too long", 415: "not application/json"}
    return {status: Answer(text, reference("Error")) for status, text in told.items()}


def _response(answer: Answer) -> dict[str, Any]:
    schema = answer.schema if answer.schema is not None else {"type": "string"}
    return {"description": answer.text, "content": {answer.media: {"schema": schema}}}
