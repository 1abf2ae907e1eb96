"""REST over a real loopback server: status codes, bodies, and the client that reads them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
import requests

from controller.client import ControllerClient, Unreachable
from controller.records import Mode, Refused, UnknownName
from controller.rest import RestApplication, needs_token
from twin.errors import InputError


class FakeApi:
    """Answers like a controller with one VNF, one free server, and one that is full."""

    def __init__(self) -> None:
        self.mode = Mode.AUTO
        self.lack = "switch core1"
        self.asked: list[tuple[str, str, str | None]] = []

    def describe(self, what: str) -> object:
        if what == "links":
            raise ZeroDivisionError("a defect in the controller")
        return {"what": what, "mode": self.mode}

    def describe_migration(self, ident: str) -> Mapping[str, object]:
        if ident != "m1":
            raise UnknownName(f"unknown migration {ident}")
        return {"id": "m1", "status": "done"}

    def request_migration(self, vnf: str, target: str, key: str | None) -> Mapping[str, object]:
        if vnf != "web1.nat":
            raise UnknownName(f"unknown VNF {vnf}")
        if target == "full":
            raise Refused("cpu_full")
        self.asked.append((vnf, target, key))
        return {"id": "m1", "status": "pending"}

    def what_if(self, vnf: str, target: str) -> Mapping[str, object]:
        return {"vnf": vnf, "target": target}

    def accept_proposal(self, ident: str) -> Mapping[str, object]:
        if ident != "p1":
            raise UnknownName(f"unknown proposal {ident}")
        return {"id": "m1", "status": "pending"}

    def dismiss_proposal(self, ident: str) -> Mapping[str, object]:
        if ident == "p0":
            raise Refused("closed", "p0 is withdrawn")
        return {"id": ident, "status": "dismissed"}

    def set_mode(self, mode: Mode) -> None:
        self.mode = mode

    def take_twin(self, file: str) -> Mapping[str, object]:
        if file == "worse":
            raise Refused("not_better", "error 1.20 of the one in use on 40 slots")
        if file != "better":
            raise InputError(f"no twin {file}")
        return {"file": file, "error_ratio": 0.8, "slots": 40}

    def not_ready(self) -> str:
        return self.lack

    def metrics(self) -> bytes:
        return b"vnftwin_up 1.0\n"


class Quiet(WSGIRequestHandler):
    def log_message(self, *_args: object) -> None:
        """Nothing: the test's output stays readable."""


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


def _serve(application: RestApplication) -> Iterator[str]:
    with make_server("127.0.0.1", 0, application, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def url(api: FakeApi) -> Iterator[str]:
    yield from _serve(RestApplication(api))


@pytest.fixture
def guarded_url(api: FakeApi) -> Iterator[str]:
    yield from _serve(RestApplication(api, token="s3cret"))


def test_a_migration_is_accepted_with_its_id_and_place(api: FakeApi, url: str) -> None:
    reply = requests.post(f"{url}/api/v1/migrations", json={"vnf": "web1.nat", "target": "e1"}, timeout=5)
    assert (reply.status_code, reply.json()["id"]) == (202, "m1")
    assert reply.headers["Location"] == f"{url}/api/v1/migrations/m1"
    assert api.asked == [("web1.nat", "e1", None)]


def test_the_client_gives_the_key_on_and_waits_for_the_end(api: FakeApi, url: str) -> None:
    client = ControllerClient(url)
    assert client.move("web1.nat", "e1", key="k")["id"] == "m1"
    assert api.asked == [("web1.nat", "e1", "k")]
    assert client.wait_migration("m1", timeout_s=1)["status"] == "done"


def test_the_client_raises_what_the_controller_said(url: str) -> None:
    client = ControllerClient(url)
    with pytest.raises(UnknownName, match="unknown VNF web9"):
        client.move("web9.nat", "e1")
    with pytest.raises(Refused) as refused:
        client.move("web1.nat", "full")
    assert refused.value.reason == "cpu_full"
    with pytest.raises(UnknownName, match="m2"):
        client.get("migrations/m2")


def test_no_controller_is_one_clear_error() -> None:
    with pytest.raises(Unreachable, match=r"no controller answers at http://127\.0\.0\.1:9"):
        ControllerClient("http://127.0.0.1:9").get("state")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "not JSON"),
        (b"[]", "not a JSON object"),
        (b'{"vnf": "a.b"}', "missing key: target"),
        (b'{"vnf": "a.b", "target": "e1", "colour": "red"}', "unknown key: colour"),
        (b'{"vnf": 3, "target": "e1"}', "vnf must be a non-empty string"),
        (b"\xff\xfe", "not JSON"),
    ],
)
def test_a_malformed_body_is_400_and_says_why(api: FakeApi, url: str, body: bytes, message: str) -> None:
    headers = {"Content-Type": "application/json"}
    reply = requests.post(f"{url}/api/v1/migrations", data=body, headers=headers, timeout=5)
    assert reply.status_code == 400
    assert message in reply.json()["error"]
    assert api.asked == []


def test_a_wrong_method_names_the_right_one(url: str) -> None:
    reply = requests.put(f"{url}/api/v1/state", timeout=5)
    assert (reply.status_code, reply.headers["Allow"]) == (405, "GET")
    assert requests.get(f"{url}/nowhere", timeout=5).status_code == 404


def test_mode_is_set_or_refused(api: FakeApi, url: str) -> None:
    client = ControllerClient(url)
    client.set_mode("advise")
    assert api.mode is Mode.ADVISE
    with pytest.raises(InputError, match="auto, advise, manual"):
        client.set_mode("full speed")
    assert api.mode is Mode.ADVISE


def test_readiness_says_what_is_waited_for(api: FakeApi, url: str) -> None:
    assert requests.get(f"{url}/readyz", timeout=5).status_code == 503
    assert ControllerClient(url).waiting_for() == "switch core1"
    api.lack = ""
    assert requests.get(f"{url}/readyz", timeout=5).status_code == 200


def test_a_defect_is_500_without_a_traceback(url: str) -> None:
    reply = requests.get(f"{url}/api/v1/links", timeout=5)
    assert reply.status_code == 500
    assert "Traceback" not in reply.text
    assert "ZeroDivision" not in reply.text


def test_a_token_guards_all_but_health(guarded_url: str) -> None:
    assert requests.get(f"{guarded_url}/healthz", timeout=5).status_code == 200
    for path in ("/api/v1/state", "/metrics", "/readyz"):
        assert requests.get(guarded_url + path, timeout=5).status_code == 401
    wrong = {"Authorization": "Bearer s3cre"}
    assert requests.get(f"{guarded_url}/api/v1/state", headers=wrong, timeout=5).status_code == 401
    assert ControllerClient(guarded_url, token="s3cret").get("state")["what"] == "state"


@pytest.mark.parametrize(
    ("host", "needed"), [("127.0.0.1", False), ("::1", False), ("localhost", False), ("0.0.0.0", True), ("::", True)]
)
def test_only_loopback_needs_no_token(host: str, needed: bool) -> None:
    assert needs_token(host) is needed


def test_another_twin_is_taken_or_refused_with_its_reason(url: str) -> None:
    client = ControllerClient(url)
    assert client.load_twin("better")["slots"] == 40
    with pytest.raises(Refused) as refused:
        client.load_twin("worse")
    assert (refused.value.reason, refused.value.detail) == ("not_better", "error 1.20 of the one in use on 40 slots")
    with pytest.raises(InputError, match="no twin elsewhere"):
        client.load_twin("elsewhere")
