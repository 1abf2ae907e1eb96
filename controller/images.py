"""The VNFs' binary and image, built from docker/vnf when missing. No registry is asked (docs/vnf.md, "Building")."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from docker.client import DockerClient
from docker.errors import APIError, BuildError, DockerException, ImageNotFound

from controller.containers import ContainerError
from twin.errors import EnvironmentLack
from twin.resources import docker_path

SOURCES = docker_path() / "vnf"
IMAGE_NAME = "vnftwin/vnf"
_COMPILER_MEND = "apt-get install -y --no-install-recommends gcc libc6-dev libsodium-dev make"


def source_hash(sources: Path = SOURCES) -> str:
    """12 hex digits that change whenever a source, the Makefile or the Dockerfile does."""
    digest = hashlib.sha256()
    for path in _source_files(sources):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def ensure_binary(sources: Path = SOURCES, build_root: Path | None = None) -> Path:
    """The static `vnf` binary of these sources, built once per hash. EnvironmentLack without compiler and libraries."""
    root = build_root or _build_root(sources)
    folder = root / source_hash(sources)
    binary = folder / "vnf"
    if not binary.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / ".lock"):
            if not binary.exists():
                _build_binary(sources, binary)
    return binary


def ensure_images(client: DockerClient, base: str = "scratch") -> str:
    """The tag of the VNFs' image in this engine, built when missing. ContainerError when the engine cannot."""
    suffix = "" if base == "scratch" else "-" + hashlib.sha256(base.encode()).hexdigest()[:6]
    tag = f"{IMAGE_NAME}:{source_hash()}{suffix}"
    try:
        client.images.get(tag)
    except ImageNotFound:
        _build_image(client, tag, base)
    except DockerException as error:
        raise ContainerError(f"image {tag}: {error}") from None
    return tag


def load_archive(client: DockerClient, archive: Path) -> str:
    """The id of an image that came as a file (`docker save`), now in this engine. ContainerError where it is none."""
    try:
        with archive.open("rb") as content:
            return str(client.images.load(content)[0].id)
    except (OSError, DockerException, IndexError) as error:
        raise ContainerError(f"image {archive}: {' '.join(str(error).split())}") from None


@cache
def system_calls() -> str:
    """The seccomp profile of our VNFs, as one line of JSON."""
    return json.dumps(json.loads((SOURCES / "seccomp.json").read_text()))


def _source_files(sources: Path) -> list[Path]:
    """EnvironmentLack where the sources are not installed."""
    files = [p for p in sources.glob("*") if p.suffix in (".c", ".h") or p.name in ("Makefile", "Dockerfile")]
    if not files:
        raise EnvironmentLack(f"no VNF sources at {sources}", "install the project from its source tree")
    return sorted(files)


def _build_root(sources: Path) -> Path:
    """Beside the sources, or in the user's cache where those are read-only."""
    if os.access(sources, os.W_OK):
        return sources / "build"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vnftwin" / "vnf"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build_binary(sources: Path, binary: Path) -> None:
    """Builds aside and renames, so that nobody ever runs half a binary."""
    for tool in ("make", "gcc"):
        if shutil.which(tool) is None:
            raise EnvironmentLack(f"{tool} is missing, the VNFs cannot be built", _COMPILER_MEND)
    with tempfile.TemporaryDirectory(dir=binary.parent) as scratch:
        command = ["make", "-s", "-C", str(sources), f"BUILD={scratch}", "CC=gcc"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            reason = (result.stderr.strip() or "make failed").splitlines()[0]
            raise EnvironmentLack(f"the VNFs cannot be built: {reason}", _COMPILER_MEND)
        os.replace(Path(scratch) / "vnf", binary)


def _build_image(client: DockerClient, tag: str, base: str) -> None:
    try:
        client.images.build(
            fileobj=_context(ensure_binary()), custom_context=True, tag=tag, rm=True, forcerm=True,
            buildargs={"BASE": base}, network_mode="none",
        )  # fmt: skip
    except (BuildError, APIError) as error:
        raise ContainerError(f"image {tag}: build failed: {error}") from None


def _context(binary: Path) -> io.BytesIO:
    """The build context: the Dockerfile and the binary, nothing else."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(SOURCES / "Dockerfile", "Dockerfile")
        tar.add(binary, "vnf")
    archive.seek(0)
    return archive
