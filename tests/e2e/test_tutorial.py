"""The tutorial's VNF of one's own, as the page has it: built, saved, run in a live network, and moved with its state.

The page's `FROM python:3.12-slim` is not fetched: an image of that name is made of this machine's own Python.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.client import DockerClient

from mininet_topos.engine import PrivateDocker, engine_available

ROOT = Path(__file__).parents[2]
PYTHON = Path("/usr/bin/python3")  # the system's, not that of an environment
_BLOCK = re.compile(r"^<!-- live (?:run|file: (?P<file>\S+)) -->\n```\w*\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)
_EXAMPLE = re.compile(r"^```python\n(from vnftwin_vnf .*?)^```", re.MULTILINE | re.DOTALL)
_LEFT_OUT = {"test", "dist-packages", "__pycache__", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "unittest"}
pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture
def engine() -> Iterator[PrivateDocker]:
    """Where a person would have Docker, with the base image at hand."""
    if reason := engine_available():
        pytest.fail(f"no container engine: {reason}")
    with tempfile.TemporaryDirectory(prefix="vnft-") as folder, PrivateDocker(Path(folder)) as engine:
        client = DockerClient(base_url=engine.url, version="auto")
        client.api.import_image_from_data(_python_files(), repository="python", tag="3.12-slim")
        client.close()
        yield engine


def _python_files() -> bytes:
    """A root file system that holds Python and what it links to, as a tar archive."""
    version = subprocess.run(
        [PYTHON, "-c", "import sysconfig; print(sysconfig.get_path('stdlib'))"],
        capture_output=True,
        text=True,
        check=True,
    )
    library = Path(version.stdout.strip())
    programs = [PYTHON, *library.glob("lib-dynload/*.so")]
    linked = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=True).stdout
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", dereference=True) as archive:
        for name in sorted({str(PYTHON), *re.findall(r"(/\S+) \(0x", linked)}):
            archive.add(name, recursive=False)
        archive.add(library, filter=lambda entry: None if _LEFT_OUT & set(Path(entry.name).parts) else entry)
    return packed.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a reader sits: the source tree, with the example of the other page saved in it."""
    (tmp_path / "docker").symlink_to(ROOT / "docker")
    (tmp_path / "quota").mkdir()
    example = _EXAMPLE.search((ROOT / "docs" / "handover.md").read_text())
    assert example is not None
    (tmp_path / "quota" / "quota.py").write_text(example[1])
    return tmp_path


def test_the_page_leads_to_a_vnf_that_moves_with_its_state(engine: PrivateDocker, folder: Path) -> None:
    own = {"DOCKER_HOST": engine.url, "DOCKER_BUILDKIT": "0", "PYTHONWARNINGS": "ignore"}
    environment = {**os.environ, **own, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for block in _BLOCK.finditer((ROOT / "docs" / "tutorial.md").read_text()):
        if block["file"]:
            (folder / block["file"]).write_text(block["text"])
            continue
        text = block["text"].replace("sudo .venv/bin/", "")  # root already, and the environment is in PATH
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", text], cwd=folder, env=environment,
                              capture_output=True, text=True)  # fmt: skip
        assert done.returncode == 0, text + done.stdout[-1500:] + done.stderr[-1500:]
    assert (folder / "report" / "journal-greedy.db").is_file()  # though the controller runs elsewhere
    record: dict[str, Any] = json.loads((folder / "report" / "run-greedy.json").read_text())
    moves = [(m["vnf"], m["target"], m["mode"], m["status"]) for m in record["migrations"]]
    assert moves == [("web.quota", "near", "hand_over", "done")]
    (chain,) = record["ledger"]["chains"].values()
    assert (chain["lost"], chain["duplicated"]) == (0, 0)
    assert chain["received"] > 500
