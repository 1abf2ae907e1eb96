"""What the pages say is so: their marked commands run as they stand there, and every page's marked files are sound.

A block behind `<!-- file: NAME -->` is written to a file, one behind `<!-- run -->` is run by a shell; the blocks of a
page in their order, in a folder of their own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from controller.cli import build_parser

ROOT = Path(__file__).parents[2]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md"])
_BLOCK = re.compile(r"^<!-- (?:run|file: (?P<file>\S+)) -->\n```\w*\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"vnftwin ([a-z]+)(?= |`)")


@dataclass(frozen=True)
class Block:
    """A file to write, or (without a name) commands to run; `line` is where it begins on its page."""

    line: int
    file: str
    text: str


def blocks(page: str) -> list[Block]:
    found = _BLOCK.finditer(page)
    return [Block(page.count("\n", 0, match.start()) + 1, match["file"] or "", match["text"]) for match in found]


WITH_BLOCKS = [page for page in PAGES if blocks(page.read_text())]


@pytest.mark.learning
@pytest.mark.parametrize("page", WITH_BLOCKS, ids=lambda page: page.stem)
def test_marked_commands_run_as_they_stand(page: Path, tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONWARNINGS": "ignore"}
    for block in blocks(page.read_text()):
        if block.file:
            (tmp_path / block.file).write_text(block.text)
            continue
        shell = ["bash", "-euo", "pipefail", "-c", block.text]
        done = subprocess.run(shell, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{page.name}:{block.line}: {block.text}{done.stdout[-1500:]}{done.stderr[-1500:]}"


def test_the_tutorial_has_commands_to_run() -> None:
    assert len([block for block in blocks((ROOT / "docs/tutorial.md").read_text()) if not block.file]) >= 4


def test_a_wrong_command_would_be_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    file, command = "```yaml\nschema: 1\n```", "```bash\nvnftwin check a.yaml\n```"
    page.write_text(f"<!-- file: a.yaml -->\n{file}\n\n<!-- run -->\n{command}\n")
    with pytest.raises(AssertionError, match=r"page\.md:6: vnftwin check a\.yaml"):
        test_marked_commands_run_as_they_stand(page, tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_that_is_named_exists(page: Path) -> None:
    usage = build_parser().format_help()
    named = set(_COMMAND.findall(page.read_text())) - {"run-"}
    assert {name for name in named if not re.search(rf"^    {name}\b", usage, re.MULTILINE)} == set()
