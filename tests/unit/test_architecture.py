"""What the layout promises and no linter holds: folders, sizes, and that our `docker/` does not hide the Docker SDK."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("twin", "agent", "controller", "mininet_topos")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def test_every_package_is_there() -> None:
    for package in (*PACKAGES, "tests"):
        assert (ROOT / package / "__init__.py").is_file(), package


def test_docker_is_the_sdk_and_not_our_folder() -> None:
    assert not list((ROOT / "docker").rglob("__init__.py"))
    program = "import docker; print(docker.__file__)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert "site-packages" in done.stdout


@pytest.mark.parametrize("path", SOURCES + TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_readable(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= (600 if path in TESTS else 300)
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions}
    assert not {name: lines for name, lines in lengths.items() if lines > 50 and path in SOURCES}
