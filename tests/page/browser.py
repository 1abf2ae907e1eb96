"""A real browser without a window, and dry runs for it to look at."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select

PROGRAM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--force-prefers-reduced-motion",
)  # fmt: skip
WAIT_S = 30.0
START_S = 90.0  # a machine that does other things, too, imports for long


class Browser:
    """One browser with a profile of its own. Nothing that was shown is believed before it is there."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        """Returns when the controller's first snapshot is shown."""
        self.driver.get(url)
        self.wait(lambda: self.run("return !document.body.classList.contains('waiting')"))

    def one(self, css: str) -> WebElement:
        return self.driver.find_element("css selector", css)

    def text(self, css: str) -> str:
        """What stands there, also where it is scrolled out of sight."""
        return str(self.run("return document.querySelector(arguments[0])?.textContent ?? ''", css))

    def run(self, script: str, *arguments: object) -> Any:
        return self.driver.execute_script(script, *arguments)

    def choose(self, vnf: str, server: str) -> None:
        """Picks a what-if and waits until its effect is shown."""
        Select(self.one("#whatif [name=vnf]")).select_by_value(vnf)
        Select(self.one("#whatif [name=server]")).select_by_value(server)
        self.wait(lambda: self.run("return document.querySelector('#whatif .verdict') !== null"))

    def press(self, key: str) -> None:
        """A key, on whatever has the focus."""
        self.driver.switch_to.active_element.send_keys(key)

    def wait(self, holds: Callable[[], object], *, timeout_s: float = WAIT_S) -> None:
        """Returns when it holds; AssertionError where it never does."""
        deadline = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < deadline, "did not come true in time"
            time.sleep(0.05)

    def complaints(self) -> list[str]:
        """Errors on the browser's console: scripts that failed, files that were refused."""
        lines: list[dict[str, Any]] = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [str(line["message"]) for line in lines if line["level"] == "SEVERE"]


@contextmanager
def browser(*, size: str = "1600,1000", flags: tuple[str, ...] = FLAGS) -> Iterator[Browser]:
    """A browser that ends with the block, and takes its profile with it."""
    assert PROGRAM
    assert DRIVER
    options = webdriver.ChromeOptions()
    options.binary_location = PROGRAM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory(prefix="vnftwin-browser-", ignore_cleanup_errors=True) as profile:
        for flag in (*flags, f"--user-data-dir={profile}", f"--window-size={size}"):
            options.add_argument(flag)
        driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        try:
            yield Browser(driver)
        finally:
            driver.quit()


@contextmanager
def dry_run(*arguments: str, scenario: str = "small", port: int = 0, token: str = "") -> Iterator[str]:
    """The address of the page of a dry run, which ends with the block."""
    command = [
        sys.executable, "-W", "ignore", "-m", "controller.cli", "run", scenario, "--dry-run",
        "--listen", f"127.0.0.1:{port}", "--duration", "600", *arguments,
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "VNFTWIN_TOKEN": token})
    try:
        yield _address(process)
    finally:
        process.terminate()
        process.communicate(timeout=30)


def _address(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], START_S)[0], "the dry run did not start in time"
    line = process.stdout.readline().decode()
    assert "page: " in line, line
    return line.split("page: ")[1].strip()
