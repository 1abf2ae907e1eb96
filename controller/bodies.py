"""Bodies of requests, held to the schema that the OpenAPI document gives for them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.exceptions import relevance
from webob import Request

from controller.openapi_schemas import SCHEMAS, Schema
from twin.errors import InputError

MAX_BODY_BYTES = 65_536


class BadRequest(InputError):
    """A request whose body is not what the interface asks for; `status` is the one to answer with."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def read_body(request: Request, schema: Schema) -> Mapping[str, Any]:
    """The request's JSON object. BadRequest says what is wrong with it.

    Only `application/json` is taken: a browser lets no foreign page send that without asking first, so a page that
    somebody happens to visit cannot move anything.
    """
    if request.content_type != "application/json":
        raise BadRequest("send Content-Type: application/json", 415)
    if request.content_length is None:
        raise BadRequest("send Content-Length", 411)
    if request.content_length > MAX_BODY_BYTES:
        raise BadRequest(f"body larger than {MAX_BODY_BYTES} bytes", 413)
    try:
        body = json.loads(request.body.decode())
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise BadRequest("body is not a JSON object")
    problems = sorted(
        Draft202012Validator({**schema, "components": {"schemas": SCHEMAS}}).iter_errors(body), key=relevance
    )
    if problems:
        raise BadRequest(_told(problems[-1]))
    return body


def _told(problem: ValidationError) -> str:
    """One line for a person, which names the key."""
    schema: Any = problem.schema
    given: Any = problem.instance
    match problem.validator, problem.validator_value:
        case "required", _:
            return f"missing key: {next(name for name in schema['required'] if name not in given)}"
        case "additionalProperties", _:
            return f"unknown key: {next(k for k in given if k not in schema['properties'])}"
        case "enum", _:
            return f"{_key(problem)} must be one of {', '.join(schema['enum'])}"
        case (("type" | "minLength"), _):
            return f"{_key(problem)} must be a non-empty string"
        case "maxLength", most:
            return f"{_key(problem)} must have at most {most} characters"
        case "pattern", _:
            return f"{_key(problem)} must be printable ASCII"
        case _:
            return str(problem.message)


def _key(problem: ValidationError) -> str:
    return ".".join(map(str, problem.absolute_path))
