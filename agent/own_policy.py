"""A policy of the user's own: a class in a Python file, named FILE.py:CLASS wherever a policy is."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from agent.decision import Policy
from twin.errors import InputError


def policy_of_file(file: Path, name: str) -> Policy:
    """An object of the class, made without arguments. InputError where the file does not run or has no such class."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None or not file.is_file():
        raise InputError(f"no such policy: {file} is not there")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        policy: Policy = getattr(module, name)()
    except Exception as error:  # whatever a file of the user's raises
        raise InputError(f"policy {file}:{name}: {type(error).__name__}: {error}") from None
    if not callable(getattr(policy, "decide", None)) or not isinstance(getattr(policy, "name", None), str):
        raise InputError(f"policy {file}:{name}: needs `name` and `decide(view)`")
    return policy
