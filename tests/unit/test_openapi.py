"""The OpenAPI document is sound, and every answer of a controller is what it says."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from webob import Request, Response

from agent.baselines import GreedyPolicy
from controller.bodies import MAX_BODY_BYTES
from controller.openapi import ENDPOINTS, document
from controller.openapi_schemas import SCHEMAS
from controller.rest import RestApplication
from tests.fakes.service import Control
from twin.scenario_file import load_scenario

JSON = "application/json"
MOVE = b'{"vnf": "web1.nat", "target": "e2"}'


@pytest.fixture(scope="module")
def application() -> RestApplication:
    """Of a controller that has decided and moved."""
    control = Control(load_scenario("small"), GreedyPolicy())
    for _ in range(3):
        control.loop.tick()
        while control.service.begun:
            control.service.end_move()
        control.service.next_period()
    return RestApplication(control.descriptions)


def _ask(application: RestApplication, method: str, path: str, body: bytes = b"", **options: Any) -> Response:
    return Request.blank(path, method=method, body=body, **options).get_response(application)


def _holds(body: object, schema: dict[str, Any]) -> None:
    jsonschema.validate(body, {**schema, "components": {"schemas": SCHEMAS}}, jsonschema.Draft202012Validator)


def test_every_schema_is_one_and_every_operation_has_a_name_of_its_own() -> None:
    for schema in SCHEMAS.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    paths = document("1.2.3")["paths"]
    operations = [operation["operationId"] for path in paths.values() for operation in path.values()]
    assert len(set(operations)) == len(operations) == len(ENDPOINTS)


def test_the_document_is_served(application: RestApplication) -> None:
    served = _ask(application, "GET", "/api/v1/openapi.json").json
    assert served == document(served["info"]["version"])


@pytest.mark.parametrize(
    "endpoint", [e for e in ENDPOINTS if e.method == "GET" and e.action != "events"], ids=lambda e: e.path
)
def test_every_answer_to_get_holds_to_its_schema(application: RestApplication, endpoint: Any) -> None:
    reply = _ask(application, "GET", endpoint.path.replace("{ident}", "m1"))
    answer = endpoint.answers[reply.status_code]
    assert reply.content_type == answer.media
    if answer.schema is not None:
        assert reply.json or endpoint.path.endswith("proposals")  # the others have something to check
        _holds(reply.json, answer.schema)


def test_a_key_that_the_schema_lacks_does_not_hold() -> None:
    with pytest.raises(jsonschema.ValidationError):
        _holds({"ok": True, "more": 1}, SCHEMAS["Health"])


@pytest.mark.parametrize(
    ("body", "options", "status"),
    [
        (MOVE, {"content_type": "text/plain"}, 415),
        (MOVE, {"content_type": "application/x-www-form-urlencoded"}, 415),
        (b"[" * 60_000, {"content_type": JSON}, 400),
        (b'"' + b"x" * MAX_BODY_BYTES + b'"', {"content_type": JSON}, 413),
        (b'{"vnf": "web1.nat", "target": "e2", "idempotency_key": "\\ud800"}', {"content_type": JSON}, 400),
        (b'{"vnf": "' + b"x" * 201 + b'", "target": "e2"}', {"content_type": JSON}, 400),
        (MOVE, {"content_type": JSON + "; charset=utf-8"}, 202),
    ],
    ids=["plain text", "a form", "deeply nested", "huge", "half a character", "long name", "with charset"],
)
def test_bodies(application: RestApplication, body: bytes, options: dict[str, Any], status: int) -> None:
    reply = _ask(application, "POST", "/api/v1/migrations", body, **options)
    assert reply.status_code == status, reply.text
    assert len(reply.text) < 2000


def test_a_body_without_a_length_is_not_waited_for(application: RestApplication) -> None:
    request = Request.blank("/api/v1/migrations", method="POST", content_type=JSON)
    request.content_length = None
    assert request.get_response(application).status_code == 411


def test_head_is_get_without_a_body(application: RestApplication) -> None:
    reply = _ask(application, "HEAD", "/healthz")
    assert (reply.status_code, reply.body) == (200, b"")


@pytest.mark.parametrize(("method", "path", "allowed"), [
    ("DELETE", "/api/v1/migrations", "GET, POST"), ("POST", "/api/v1/mode", "PUT"), ("TRACE", "/metrics", "GET"),
])  # fmt: skip
def test_a_wrong_method_is_told_the_right_ones(
    application: RestApplication, method: str, path: str, allowed: str
) -> None:
    reply = _ask(application, method, path)
    assert (reply.status_code, reply.headers["Allow"]) == (405, allowed)
