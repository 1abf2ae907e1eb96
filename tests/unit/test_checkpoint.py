"""A checkpoint comes back exactly, or is refused in one clear line."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from twin.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from twin.errors import InputError


@pytest.fixture
def checkpoint() -> Checkpoint:
    rng = np.random.default_rng(3)
    return Checkpoint(
        kind="policy",
        schema_hash="abc",
        scenario="small",
        seed=7,
        tensors={"w": rng.normal(size=(3, 4)).astype(np.float32), "b": np.zeros(4, np.float32)},
        scalers={"w": np.ones(3, np.float32)},
        versions={"torch": "2"},
        details={"steps": 10, "config": {"gamma": 0.9}},
    )


def _load(path: Path) -> Checkpoint:
    return load_checkpoint(path, kind="policy", schema_hash="abc")


def _rewritten(path: Path, **changes: object) -> None:
    """The same tensors with another story."""
    content = path.read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + length])
    story = json.loads(header["__metadata__"]["vnftwin"]) | changes
    from safetensors.numpy import load

    path.write_bytes(save(load(content), {"vnftwin": json.dumps(story)}))


def test_comes_back_exactly(tmp_path: Path, checkpoint: Checkpoint) -> None:
    save_checkpoint(tmp_path / "p", checkpoint)
    back = _load(tmp_path / "p")
    for group in ("tensors", "scalers"):
        ours, theirs = getattr(checkpoint, group), getattr(back, group)
        assert ours.keys() == theirs.keys()
        for name in ours:
            np.testing.assert_array_equal(ours[name], theirs[name])
            assert theirs[name].dtype == np.float32
    assert (back.scenario, back.seed, back.versions, back.details) == (
        "small",
        7,
        {"torch": "2"},
        {"steps": 10, "config": {"gamma": 0.9}},
    )


def test_same_content_gives_the_same_bytes(tmp_path: Path, checkpoint: Checkpoint) -> None:
    save_checkpoint(tmp_path / "a", checkpoint)
    save_checkpoint(tmp_path / "b", checkpoint)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_every_truncation_is_refused(tmp_path: Path, checkpoint: Checkpoint) -> None:
    path = tmp_path / "p"
    save_checkpoint(path, checkpoint)
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match="damaged"):
            _load(path)


def test_a_flipped_bit_in_a_tensor_is_refused(tmp_path: Path, checkpoint: Checkpoint) -> None:
    path = tmp_path / "p"
    save_checkpoint(path, checkpoint)
    content = bytearray(path.read_bytes())
    content[-10] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="digest"):
        _load(path)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint at all", b"\x80\x04K\x01.", b"{}"])
def test_anything_else_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "p"
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a checkpoint"):
        _load(path)


def test_safetensors_of_somebody_else_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p"
    path.write_bytes(save({"w": np.zeros(2, np.float32)}))
    with pytest.raises(InputError, match="not a checkpoint"):
        _load(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: cannot be read: No such file"):
        _load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"schema_hash": "other"}, "train it anew"),
        ({"kind": "lstm"}, "'policy' is needed"),
        ({"format": 99}, "this version reads 1"),
        ({"digest": ""}, "digest"),
        ({"seed": "seven"}, "damaged"),
        ({"versions": []}, "damaged"),
    ],
)
def test_misfits_are_refused(tmp_path: Path, checkpoint: Checkpoint, changes: dict[str, object], says: str) -> None:
    path = tmp_path / "p"
    save_checkpoint(path, checkpoint)
    _rewritten(path, **changes)
    with pytest.raises(InputError, match=says) as caught:
        _load(path)
    assert "\n" not in str(caught.value)


def test_a_tensor_that_is_not_finite_is_not_written(tmp_path: Path, checkpoint: Checkpoint) -> None:
    broken = replace(checkpoint, tensors={"w": np.array([np.nan], np.float32)})
    with pytest.raises(ValueError, match="tensor/w: not finite"):
        save_checkpoint(tmp_path / "p", broken)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "p"
    save_checkpoint(path, checkpoint)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(path, replace(checkpoint, seed=8))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["p"]
