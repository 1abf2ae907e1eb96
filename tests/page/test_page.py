"""The live page in a real browser, over dry runs: what it shows, and what pressing its buttons does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from selenium.webdriver.common.keys import Keys

from controller.client import ControllerClient
from tests.page.browser import Browser, browser, dry_run

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def shared_browser() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture
def page(url: str, shared_browser: Browser) -> Iterator[Browser]:
    """The page, freshly opened; every test ends without a complaint on the console."""
    ControllerClient(url).set_mode("manual")
    shared_browser.open(url)
    yield shared_browser
    assert shared_browser.complaints() == []


def _server_of(page: Browser, vnf: str) -> str:
    return page.text(f"#chains [data-vnf='{vnf}'] small")


def test_everything_of_the_network_is_shown(page: Browser) -> None:
    counts = {layer: page.run(f"return document.querySelectorAll('.layer-{layer} > *').length") for layer in LAYERS}
    assert counts == LAYERS
    page.wait(lambda: "ms" in page.text(".tile:nth-child(1) .tile-value"))
    assert page.text("#world") == "simulated"
    assert page.run("return document.querySelectorAll('#chains tr').length") == 4
    page.wait(lambda: page.run("return document.querySelectorAll('.curve canvas').length") == 2)
    assert page.driver.title == "small – vnftwin"


def test_what_came_of_a_move_stands_beside_what_was_predicted(page: Browser, url: str) -> None:
    """The page and REST say the same, and the page says it without being asked to look."""
    client = ControllerClient(url)
    target = "c1" if _server_of(page, "voice.nat") != "c1" else "c2"
    ident = client.move("voice.nat", target)["id"]

    def observed() -> dict[str, float | None]:
        return client.get(f"migrations/{ident}")["observed"] or {}

    page.wait(lambda: observed().get("power_after_w"), timeout_s=60.0)
    entry = "#timeline .entry:has(.effect + .effect)"
    page.wait(lambda: "voice.nat  " in page.text(f"{entry} .entry-title"))
    page.wait(lambda: f"{observed()['delay_after_ms']:.1f} ms" in page.text(f"{entry} .effect:nth-of-type(4)"))
    assert page.text(f"{entry} .effect:nth-of-type(4)").startswith("observed")


def test_the_error_of_a_learned_twin_is_told(shared_browser: Browser, tmp_path: Path) -> None:
    quick = tmp_path / "quick.yaml"  # a period of one second: there is something to judge soon
    quick.write_text(re.sub(r"period_s: \d+", "period_s: 1", (ROOT / "scenarios" / "small.yaml").read_text()))
    with dry_run("--policy", "stay", "--twin", "generic", scenario=str(quick)) as address:
        shared_browser.open(address)
        shared_browser.wait(lambda: "where foretelling no change is 100 %" in shared_browser.text("#twin"))
        ratios = ControllerClient(address).get("state")["twin"]["error_ratio"]
        line = shared_browser.text("#twin")
        assert {"traffic", "delay", "energy"} <= ratios.keys()
        assert all(re.search(rf"{head.replace('_', ' ')} \d+ %", line) for head in ratios), (line, ratios)
        assert shared_browser.complaints() == []
        shared_browser.driver.get("about:blank")  # before its controller ends


LAYERS = {"links": 6, "switches": 6, "servers": 6, "endpoints": 5, "ways": 4}


def test_a_move_pressed_on_the_page_is_made_and_shown(page: Browser, url: str) -> None:
    source, target = _server_of(page, "web1.firewall"), "e1"
    if source == target:
        target = "e2"
    page.choose("web1.firewall", target)
    assert "→" in page.text("#whatif output")
    page.one("#whatif [type=submit]").click()
    page.wait(lambda: _server_of(page, "web1.firewall") == target)
    page.wait(lambda: f"web1.firewall  {source} → {target}" in page.text("#timeline .entry.done .entry-title"))
    assert "asked for" in page.text("#timeline .entry.done .entry-reason")
    assert ControllerClient(url).get("state")["placement"]["web1.firewall"] == target


def test_it_can_be_left_and_opened_more_often_than_a_browser_has_connections(page: Browser, url: str) -> None:
    for _ in range(8):
        page.driver.get("about:blank")
        page.open(url)


def test_what_would_be_refused_says_so_and_cannot_be_pressed(page: Browser) -> None:
    page.choose("voice.nat", _server_of(page, "voice.nat"))
    assert "it runs there already (same_server)" in page.text("#whatif .verdict")
    assert not page.one("#whatif [type=submit]").is_enabled()


def test_a_proposal_waits_for_a_person_who_accepts_it_by_the_keyboard(page: Browser, url: str) -> None:
    page.one("#modes [value=advise]").click()
    page.wait(lambda: page.run("return document.querySelector('#advice .primary') !== null"))
    client = ControllerClient(url)
    moves = client.get("state")["moves"]
    page.press("a")
    page.press(Keys.ENTER)
    page.wait(lambda: any(p["status"] == "accepted" for p in client.get("proposals")))
    page.wait(lambda: client.get("state")["moves"] == moves + 1)
    assert page.run("return document.querySelector('#modes [value=advise]').ariaPressed") == "true"


def test_a_second_browser_sees_the_same(page: Browser, url: str) -> None:
    with browser() as second:
        second.open(url)
        second.one("#modes [value=advise]").click()
        page.wait(lambda: page.run("return document.querySelector('#modes [value=advise]').ariaPressed") == "true")
        assert second.complaints() == []


def test_it_can_be_used_by_keyboard_and_everything_has_a_name(page: Browser) -> None:
    page.press("w")
    assert page.driver.switch_to.active_element.accessible_name == "VNF (w)"
    page.run("document.querySelector('.layer-servers .server').focus()")
    page.press(Keys.ENTER)
    assert page.run("return document.querySelector('#whatif [name=server]').value") == "e1"
    page.press(Keys.ESCAPE)
    assert page.run("return document.querySelector('#whatif [name=server]').value") == ""
    named = page.driver.find_elements("css selector", "button, select, input, [role=button], [tabindex='0']")
    nameless = [e.get_attribute("outerHTML") for e in named if e.is_displayed() and not e.accessible_name]
    assert nameless == []


def test_light_and_dark_and_it_is_remembered(page: Browser, url: str) -> None:
    ground = "return getComputedStyle(document.body).backgroundColor"
    before = page.run(ground)
    page.press("t")
    after = page.run(ground)
    assert before != after
    page.open(url)
    assert page.run(ground) == after
    page.run("localStorage.clear()")


def test_a_dropped_connection_is_told_and_taken_up_again(shared_browser: Browser) -> None:
    with dry_run("--mode", "manual") as address:
        shared_browser.open(address)
    shared_browser.wait(lambda: "connection lost" in shared_browser.text("#connection"))
    with dry_run("--mode", "advise", port=urlsplit(address).port or 0):
        shared_browser.wait(lambda: shared_browser.text("#connection") == "connected")
        pressed = "return document.querySelector('#modes [value=advise]').ariaPressed"
        shared_browser.wait(lambda: shared_browser.run(pressed) == "true")
    shared_browser.complaints()  # that nobody answered meanwhile


def test_a_token_is_asked_for_once_and_a_wrong_one_is_told(shared_browser: Browser) -> None:
    with dry_run("--mode", "manual", token="s3cret") as address:
        assert requests.get(f"{address}api/v1/events", timeout=5).status_code == 401
        shared_browser.driver.get(address)
        for given in ("guess", "s3cret"):
            shared_browser.wait(lambda: shared_browser.run("return document.getElementById('token-dialog').open"))
            shared_browser.one("#token-dialog [name=token]").send_keys(given, Keys.ENTER)
            if given == "guess":
                shared_browser.wait(
                    lambda: not shared_browser.run("return document.getElementById('token-wrong').hidden")
                )
        shared_browser.open(address)
        shared_browser.choose("voice.nat", "e1")
    shared_browser.complaints()  # the two refusals
