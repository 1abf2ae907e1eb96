"""Checkpoints of learned models: safetensors with their story inside, never pickle.

A checkpoint says what it is (`kind`), what features it was trained on (`schema_hash`), and everything needed to make
it anew (scenario, seed, versions). What does not fit is refused: a network fed with other features than it was
trained on answers nonsense without a sign of it. Source: ours (docs/agent.md, "Checkpoints").
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from twin.errors import InputError

FORMAT = 1  # raised when a reader of today could misread what is written
_STORY = "vnftwin"  # the one metadata key: JSON, since safetensors keeps strings only

Tensor = npt.NDArray[np.float32]
Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Named float32 tensors and where they come from.

    `scalers` are the frozen means and deviations of the inputs, apart from the learned `tensors` so that neither can
    be taken for the other. `details` is free JSON (training configuration, final scores).
    """

    kind: str
    schema_hash: str
    scenario: str
    seed: int
    tensors: Mapping[str, Tensor]
    scalers: Mapping[str, Tensor] = field(default_factory=dict)
    state: Mapping[str, Array] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, object] = field(default_factory=dict)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Writes the whole file or nothing: a reader never sees half of it. ValueError for a tensor that is not finite."""
    named = _flat(checkpoint)
    for name, tensor in named.items():
        if not np.isfinite(tensor).all():
            raise ValueError(f"{name}: not finite")
    story = {
        "format": FORMAT,
        "kind": checkpoint.kind,
        "schema_hash": checkpoint.schema_hash,
        "scenario": checkpoint.scenario,
        "seed": checkpoint.seed,
        "versions": dict(checkpoint.versions),
        "details": dict(checkpoint.details),
        "digest": _digest(named),
    }
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(save(named, {_STORY: json.dumps(story, sort_keys=True)}))
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def load_checkpoint(path: Path, *, kind: str, schema_hash: str) -> Checkpoint:
    """Reads what `save_checkpoint` wrote. InputError (one line, naming the file) when it is missing, truncated,
    altered, of another kind or format, or trained on other features than `schema_hash` names."""
    try:
        content = path.read_bytes()
        named = load(content)
        story = _story(content)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a checkpoint, or damaged: {error}") from error
    _refuse_misfit(path, story, kind=kind, schema_hash=schema_hash)
    if story.get("digest") != _digest(named):
        raise InputError(f"{path}: damaged: its tensors do not match its digest")
    try:
        return _rebuilt(story, named)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a checkpoint, or damaged: {error!r}") from error


def kind_of(path: Path) -> str:
    """What a checkpoint says it holds; nothing where the file is none. Its tensors are not looked at."""
    try:
        return str(_story(path.read_bytes()).get("kind", ""))
    except (OSError, ValueError, KeyError, TypeError, struct.error, MemoryError):
        return ""


def _flat(checkpoint: Checkpoint) -> dict[str, Array]:
    groups = {"tensor": checkpoint.tensors, "scaler": checkpoint.scalers}
    learned = {
        f"{group}/{name}": np.ascontiguousarray(tensor, dtype=np.float32)
        for group, tensors in groups.items()
        for name, tensor in tensors.items()
    }
    return learned | {f"state/{name}": np.ascontiguousarray(array) for name, array in checkpoint.state.items()}


def _group(named: Mapping[str, Array], group: str) -> dict[str, Array]:
    prefix = f"{group}/"
    return {name.removeprefix(prefix): tensor for name, tensor in named.items() if name.startswith(prefix)}


def _digest(named: Mapping[str, Array]) -> str:
    digest = hashlib.sha256()
    for name in sorted(named):
        digest.update(f"{name}{named[name].shape}{named[name].dtype}".encode())
        digest.update(named[name].tobytes())
    return digest.hexdigest()


def _story(content: bytes) -> dict[str, object]:
    """The JSON in the file's header. The library's reader gives metadata for files only, so the header, whose form
    the format fixes (u64 length, then JSON), is read here; the library has already checked its length."""
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + length])
    story = json.loads(header["__metadata__"][_STORY])
    if not isinstance(story, dict):
        raise ValueError("metadata is not a mapping")
    return story


def _refuse_misfit(path: Path, story: Mapping[str, object], *, kind: str, schema_hash: str) -> None:
    if story.get("format") != FORMAT:
        raise InputError(f"{path}: format {story.get('format')!r}, this version reads {FORMAT}")
    if story.get("kind") != kind:
        raise InputError(f"{path}: holds a {story.get('kind')!r}, a {kind!r} is needed")
    if story.get("schema_hash") != schema_hash:
        theirs = story.get("schema_hash")
        raise InputError(f"{path}: trained on features {theirs!r}, this version makes {schema_hash!r}: train it anew")


def _rebuilt(story: Mapping[str, object], named: Mapping[str, Array]) -> Checkpoint:
    versions, details, seed = story["versions"], story["details"], story["seed"]
    if not (isinstance(versions, dict) and isinstance(details, dict) and isinstance(seed, int)):
        raise ValueError("metadata of the wrong form")
    return Checkpoint(
        kind=str(story["kind"]),
        schema_hash=str(story["schema_hash"]),
        scenario=str(story["scenario"]),
        seed=seed,
        tensors=_group(named, "tensor"),
        scalers=_group(named, "scaler"),
        state=_group(named, "state"),
        versions=versions,
        details=details,
    )
