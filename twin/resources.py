"""Where the files are that ship with the project: the same from a checkout and from an installed wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def _folder(name: str) -> Path:
    """A folder beside the packages in a checkout, inside `twin/shipped` once installed (setup.cfg, package_dir)."""
    root = _PACKAGE.parent
    return root / name if (root / "setup.cfg").is_file() else _PACKAGE / "shipped" / name


def scenario_names() -> tuple[str, ...]:
    """Names of the shipped scenarios."""
    return tuple(sorted(path.stem for path in _folder("scenarios").glob("*.yaml")))


def scenario_path(name: str) -> Path:
    """File of a shipped scenario. KeyError for a name that does not ship."""
    if name not in scenario_names():
        raise KeyError(name)
    return _folder("scenarios") / f"{name}.yaml"


def docker_path() -> Path:
    """Folder with the sources of the container images."""
    return _folder("docker")
