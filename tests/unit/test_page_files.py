"""The page's files, who may ask for what, and that nothing of the page is fetched from elsewhere."""

from __future__ import annotations

import re

import pytest
from webob import Request, Response

from agent.baselines import StayPolicy
from controller.feed import Feed, Readers
from controller.page_files import page_files
from controller.records import Mode
from controller.rest import RestApplication
from tests.fakes.service import Control
from twin.scenario_file import load_scenario

CONTROL = Control(load_scenario("small"), StayPolicy(), mode=Mode.MANUAL)


def _ask(path: str, *, token: str = "", method: str = "GET", **headers: str) -> Response:
    readers = Readers(Feed("e"), dict, lambda _s: None)
    application = RestApplication(CONTROL.descriptions, token=token, readers=readers)
    return Request.blank(path, method=method, headers=headers).get_response(application)


def test_the_page_is_there_with_everything_it_asks_for() -> None:
    page = _ask("/")
    assert (page.status_code, page.content_type) == (200, "text/html")
    wanted = re.findall(r'(?:href|src)="(/[^"]+)"', page.text)
    assert len(wanted) >= 6
    assert {path: _ask(path).status_code for path in wanted} == dict.fromkeys(wanted, 200)
    modules = [file.content.decode() for name, file in page_files().items() if name.endswith(".js")]
    imported = {name for text in modules for name in re.findall(r'^import .* from "\./([^"]+)"', text, re.M)}
    assert len(imported) >= 6
    assert imported <= page_files().keys()


def test_nothing_is_fetched_from_elsewhere_and_no_script_is_inline() -> None:
    policy = _ask("/").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    html = _ask("/").text
    assert not re.search(r"<script(?![^>]*\bsrc=)", html)
    assert not re.search(r"\s(?:style|on\w+)=", html)
    own = {name: file.content.decode() for name, file in page_files().items() if not name.startswith("vendor/")}
    found = {n: re.findall(r"https?://(?!www\.w3\.org/)[^\s\"']+", text) for n, text in own.items()}
    assert not any(found.values()), found


def test_what_the_browser_has_is_not_sent_again() -> None:
    etag = _ask("/page/main.js").headers["ETag"]
    again = _ask("/page/main.js", **{"If-None-Match": etag})
    assert (again.status_code, again.body) == (304, b"")


@pytest.mark.parametrize("path", ["/page/nothing.js", "/page/../rest.py", "/page/%2e%2e/rest.py", "/page//etc/passwd"])
def test_only_the_pages_own_files_are_given(path: str) -> None:
    assert _ask(path).status_code == 404


def test_a_token_guards_what_the_page_shows_but_not_the_page() -> None:
    assert _ask("/", token="s3cret").status_code == 200
    assert _ask("/page/main.js", token="s3cret").status_code == 200
    for path in ("events", "state", "proposals", "topology"):
        assert _ask(f"/api/v1/{path}", token="s3cret").status_code == 401


def test_another_page_cannot_steer() -> None:
    foreign = _ask("/api/v1/proposals/p1/accept", method="POST", Origin="http://evil.example", Host="127.0.0.1:8080")
    assert foreign.status_code == 403
    own = _ask("/api/v1/proposals/p1/accept", method="POST", Origin="http://127.0.0.1:8080", Host="127.0.0.1:8080")
    assert own.status_code == 404


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:8080", 200), ("127.0.0.1", 200), ("[::1]:8080", 200), ("evil.example", 403), ("10.0.0.1", 403)],
)
def test_without_a_token_only_names_of_loopback_are_answered(host: str, status: int) -> None:
    assert _ask("/api/v1/topology", Host=host).status_code == status
    assert _ask("/api/v1/topology", token="t", Host=host, Authorization="Bearer t").status_code == 200


def test_as_many_readers_as_may_then_a_clear_no() -> None:
    feed = Feed("e")
    feed.readers = 32
    application = RestApplication(CONTROL.descriptions, readers=Readers(feed, dict, lambda _s: None))
    reply = Request.blank("/api/v1/events").get_response(application)
    assert (reply.status_code, reply.headers["Retry-After"]) == (503, "5")
