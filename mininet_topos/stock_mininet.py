"""Finds the distribution's Mininet and makes it importable in any Python, without its neighbours.

Mininet is packaged for the system's Python; putting that whole folder of packages on the path of another one would
shadow what is installed there. So a folder that holds one link to the package is put last on the path instead.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import tempfile
from pathlib import Path
from types import ModuleType

from twin.errors import EnvironmentLack

PLACES = (
    Path("/usr/lib/python3/dist-packages/mininet"),
    Path("/usr/local/lib/python3/dist-packages/mininet"),
    *sorted(Path("/usr/local/lib").glob("python3.*/dist-packages/mininet")),
)
MEND = "apt-get install -y --no-install-recommends mininet openvswitch-switch"


def module(name: str) -> ModuleType:
    """The module `mininet.<name>`. EnvironmentLack when there is no Mininet on this machine."""
    make_importable()
    try:
        return importlib.import_module(f"mininet.{name}")
    except ImportError as error:
        # Mininet 2.3.0 still imports distutils, which left Python with 3.12
        mend = "pip install setuptools" if error.name == "distutils" else MEND
        raise EnvironmentLack(f"Mininet cannot be imported: {error}", mend) from None


def make_importable() -> None:
    """Does nothing where `import mininet` works already. EnvironmentLack when no Mininet is found."""
    if importlib.util.find_spec("mininet") is not None:
        return
    package = next((place for place in PLACES if (place / "__init__.py").is_file()), None)
    if package is None:
        raise EnvironmentLack("Mininet is not installed", MEND)
    with tempfile.TemporaryDirectory(prefix="vnftwin-mininet-") as folder:
        # The link is needed for this one import only: the package then knows its own folder.
        link = Path(folder) / "mininet"
        os.symlink(package, link)
        sys.path.append(folder)
        try:
            importlib.invalidate_caches()
            found = importlib.import_module("mininet")
        finally:
            sys.path.remove(folder)
        found.__path__ = [str(package)]
