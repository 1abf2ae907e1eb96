"""What `pytest` needs to know before a test opens a browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.page.browser import DRIVER, PROGRAM, dry_run


@pytest.fixture(scope="session")
def url() -> Iterator[str]:
    """A dry run in which nothing moves by itself; its policy always wants the best single move."""
    with dry_run("--mode", "manual", "--policy", "greedy") as address:
        yield address


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without a browser its tests are skipped, visibly; `make test` installs one."""
    if PROGRAM and DRIVER:
        return
    for item in items:
        if "tests/page/" in str(item.path):
            item.add_marker(pytest.mark.skip(reason="needs chromium and chromium-driver"))
