"""What `pytest` needs to know before a test opens a browser."""

from __future__ import annotations

import pytest

from tests.page.browser import DRIVER, PROGRAM


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without a browser its tests are skipped, visibly; `make test` installs one."""
    if PROGRAM and DRIVER:
        return
    for item in items:
        if "tests/page/" in str(item.path):
            item.add_marker(pytest.mark.skip(reason="needs chromium and chromium-driver"))
