"""A running server driven by its own OpenAPI document: what it takes and answers is what the document says."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.fakes.dry_server import dry_server

TOKEN = "s3cret"
MOVES = [("web1.nat", "e2"), ("web1.nat", "e9"), ("web1.firewall", "e1"), ("video.monitor", "c1")]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with dry_server("small", "--mode", "advise", token=TOKEN) as address:
        yield address


def _with_examples(document: dict[str, Any]) -> dict[str, Any]:
    """The document with names that this controller knows, so that not every request ends with 404."""
    moves = {f"{vnf} {target}": {"value": {"vnf": vnf, "target": target}} for vnf, target in MOVES}
    for path in ("/api/v1/migrations", "/api/v1/whatif"):
        document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["examples"] = moves
    for operation in ("migrations/{ident}:get", "proposals/{ident}/accept:post", "proposals/{ident}/dismiss:post"):
        path, method = operation.split(":")
        for parameter in document["paths"][f"/api/v1/{path}"][method]["parameters"]:
            parameter["examples"] = {"migration": {"value": "m1"}, "proposal": {"value": "p1"}}
    return document


@pytest.mark.slow
def test_what_the_server_answers_is_what_the_document_says(url: str, tmp_path: Path) -> None:
    authorised = f"Authorization: Bearer {TOKEN}"
    reply = requests.get(f"{url}/api/v1/openapi.json", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=10)
    file = tmp_path / "openapi.json"
    file.write_text(json.dumps(_with_examples(reply.json())))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "schemathesis.cli", "run", str(file), "--url", url,
         "--header", authorised,
         "--phases", "examples,coverage,fuzzing", "--max-examples", "10", "--generation-deterministic",
         "--exclude-path", "/api/v1/events", "--continue-on-failure", "--no-color"],
        capture_output=True, text=True, timeout=280, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "Examples" in done.stdout
