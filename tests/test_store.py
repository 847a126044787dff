"""A result on disk is whole and unchanged, or it counts as missing and is reported."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import math
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from landscape_fast.results import Diagonal, Eigenpairs, Quality, SpectralDensity, Trace
from landscape_fast.store import Store, StoreProblem, StoreWriteError, locked

ROOT = Path(__file__).resolve().parents[1]


def eigenpairs(seed: int = 0, dtype: torch.dtype = torch.float32) -> Eigenpairs:
    generator = torch.Generator().manual_seed(seed)
    return Eigenpairs(
        values=torch.randn(3, generator=generator, dtype=torch.float64),
        vectors=torch.randn(3, 50, generator=generator).to(dtype),
        residuals=torch.rand(3, generator=generator, dtype=torch.float64),
        tolerance=1e-3,
        converged=False,
        products=17,
        samples=seed,
    )


def assert_same(found, expected) -> None:
    """Every field equal, tensors in type and to the bit."""
    assert type(found) is type(expected)
    for field in fields(expected):
        ours, theirs = getattr(found, field.name), getattr(expected, field.name)
        if isinstance(theirs, torch.Tensor):
            assert ours.dtype == theirs.dtype
            assert ours.shape == theirs.shape
            assert bytes_of(ours) == bytes_of(theirs)
        else:
            assert type(ours) is type(theirs)
            assert ours == theirs or (math.isnan(ours) and math.isnan(theirs))


def bytes_of(tensor: torch.Tensor) -> bytes:
    if tensor.numel() == 0:
        return b""
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.bool]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_arrays_come_back_equal_to_the_bit(store, dtype):
    saved = eigenpairs(dtype=dtype)
    store.save("w8_s0", "top_eigs", saved)
    assert_same(Store(store.root).load("w8_s0", "top_eigs"), saved)


def test_awkward_tensors_come_back_equal(store):
    nodes = torch.tensor([[math.nan, math.inf], [-math.inf, -0.0]], dtype=torch.float64)
    transposed = torch.arange(6.0, requires_grad=True).reshape(2, 3).T
    saved = SpectralDensity(nodes=nodes, weights=transposed, dimension=3, products=0, samples=0)
    store.save("key", "density", saved)
    assert_same(store.load("key", "density"), saved)


def test_lazily_conjugated_tensors_come_back_conjugated(store):
    values = torch.tensor([1.0 + 2.0j]).conj()
    assert values.is_conj()
    store.save("key", "x", Quality(loss=values, accuracy=values.imag, samples=1))
    found = store.load("key", "x")
    assert torch.equal(found.loss, torch.tensor([1.0 - 2.0j]))
    assert torch.equal(found.accuracy, torch.tensor([-2.0]))


def test_a_tensor_without_entries_comes_back(store):
    saved = Trace(
        value=1.0, stderr=0.0, draws=torch.empty(0), converged=True, products=0, samples=0
    )
    store.save("key", "trace", saved)
    assert_same(store.load("key", "trace"), saved)


def test_names_and_shapes_come_back_as_tuples(store):
    saved = Diagonal(
        values=torch.ones(3, dtype=torch.float64),
        stderr=torch.zeros(3, dtype=torch.float64),
        names=("0.weight", "0.bias"),
        shapes=((1, 2), ()),
        exact=(),
        omitted=math.nan,
        converged=True,
        products=0,
        samples=0,
    )
    store.save("key", "diagonal", saved)
    found = store.load("key", "diagonal")
    assert (found.names, found.shapes, found.exact) == (saved.names, saved.shapes, ())
    assert found.named()["0.weight"].shape == (1, 2)


@given(
    loss=st.floats(allow_nan=True, allow_infinity=True), accuracy=st.floats(), samples=st.integers()
)
def test_any_float_survives_a_header_that_is_strict_json(tmp_path_factory, loss, accuracy, samples):
    store = Store(tmp_path_factory.mktemp("store"))
    saved = Quality(loss=loss, accuracy=accuracy, samples=samples)
    path = store.save("key", "quality", saved)
    json.loads(path.read_text(), parse_constant=pytest.fail)
    assert_same(store.load("key", "quality"), saved)
    shutil.rmtree(store.root)


def test_a_plain_float_is_a_result(store):
    store.save("a-b", "l2", math.inf)
    assert store.load("a-b", "l2") == math.inf


def test_the_header_says_where_the_number_comes_from(store):
    store.save("key", "trace", 1.5, recipe={"width": 8, "lr": math.nan}, seconds=2.5)
    found = store.header("key", "trace")["provenance"]
    assert found["recipe"] == {"width": 8, "lr": {"float": "nan"}}
    assert found["seconds"] == 2.5
    assert found["torch"] == torch.__version__
    assert found["threads"] == torch.get_num_threads()
    assert {"landscape_fast", "commit", "python", "numpy", "platform", "written"} <= found.keys()


def test_missing_results_are_none_and_no_problem(store):
    assert store.load("key", "trace") is None
    assert store.header("key", "trace") is None
    assert not store.has("key", "trace")
    store.delete("key", "trace")
    assert list(store) == []
    assert store.problems == []


def test_deleted_results_are_gone_and_others_stay(store):
    store.save("key", "top_eigs", eigenpairs())
    store.save("key", "trace", 1.0)
    assert list(store) == [("key", "top_eigs"), ("key", "trace")]
    store.delete("key", "top_eigs")
    assert list(store) == [("key", "trace")]
    assert not store.path("key", "top_eigs").with_suffix(".npz").exists()


def test_a_newer_result_replaces_an_older_one_and_its_arrays(store):
    store.save("key", "x", eigenpairs(1))
    store.save("key", "x", eigenpairs(2))
    assert_same(store.load("key", "x"), eigenpairs(2))
    store.save("key", "x", 3.0)
    assert store.load("key", "x") == 3.0
    assert not store.path("key", "x").with_suffix(".npz").exists()


def rewritten(header: bytes, **changes: object) -> bytes:
    """The header with other entries and the checksum that belongs to them."""
    body = json.loads(header) | changes
    del body["sha256"]
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return json.dumps(body | {"sha256": digest}).encode()


def fields_changed(header: bytes) -> bytes:
    return header.replace(b'"products": 17', b'"products": 18')


HEADER_DAMAGE = {
    "empty": lambda _: b"",
    "half": lambda header: header[: len(header) // 2],
    "not text": lambda header: b"\xff\x00" + header,
    "a list": lambda _: b"[]",
    "no schema": lambda _: b"{}",
    "older schema": lambda header: rewritten(header, schema=0),
    "newer schema": lambda header: rewritten(header, schema=2),
    "other class": lambda header: rewritten(header, **{"class": "Trace"}),
    "extra entry": lambda header: rewritten(header, more=1),
    "a digit of a field": fields_changed,
}


@pytest.mark.parametrize("damage", HEADER_DAMAGE.values(), ids=HEADER_DAMAGE.keys())
def test_a_damaged_header_is_reported_and_counts_as_missing(store, damage, caplog):
    path = store.save("key", "top_eigs", eigenpairs())
    damaged = damage(path.read_bytes())
    assert damaged != path.read_bytes()
    path.write_bytes(damaged)
    with caplog.at_level(logging.WARNING):
        assert store.load("key", "top_eigs") is None
    assert [problem.path for problem in store.problems] == [path]
    assert str(path) in caplog.text
    assert not store.has("key", "top_eigs")


def test_a_header_alone_is_checked_too(store):
    path = store.save("key", "trace", 1.0)
    path.write_bytes(fields_changed(path.read_bytes().replace(b"1.0", b"2.0")))
    assert store.header("key", "trace") is None
    assert store.problems == [StoreProblem(path, "the header does not match its checksum")]


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


ARRAY_DAMAGE = {
    "removed": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "one bit": flip_a_bit,
    "another archive": lambda path: np.savez(path, values=np.ones(3)),
}


@pytest.mark.parametrize("damage", ARRAY_DAMAGE.values(), ids=ARRAY_DAMAGE.keys())
def test_damaged_arrays_are_reported_and_count_as_missing(store, damage):
    path = store.save("key", "top_eigs", eigenpairs())
    damage(path.with_suffix(".npz"))
    assert store.load("key", "top_eigs") is None
    assert "npz" in store.problems[0].reason
    assert not store.has("key", "top_eigs")
    store.save("key", "top_eigs", eigenpairs())
    assert_same(store.load("key", "top_eigs"), eigenpairs())


def test_a_class_that_lost_a_field_since_is_refused(store, monkeypatch):
    store.save("key", "quality", Quality(loss=1.0, accuracy=2.0, samples=3))
    monkeypatch.setattr("landscape_fast.store.format._CLASSES", {"Quality": Trace})
    assert store.load("key", "quality") is None
    assert "accuracy" in store.problems[0].reason


def disk_full(*args: object, **kwargs: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_gives_one_clear_error_and_leaves_nothing(store, monkeypatch):
    monkeypatch.setattr("landscape_fast.store.files.os.fsync", disk_full)
    with pytest.raises(StoreWriteError, match=r"No space left on device.*top_eigs") as caught:
        store.save("key", "top_eigs", eigenpairs())
    assert caught.value.errno == errno.ENOSPC
    assert [path.name for path in (store.root / "key").iterdir()] == [".lock"]


def test_a_header_that_cannot_be_moved_into_place_is_no_result(store, monkeypatch):
    replace = Path.replace

    def refuse_headers(self: Path, target: Path) -> Path:
        return disk_full() if target.suffix == ".json" else replace(self, target)

    store.save("key", "top_eigs", eigenpairs(1))
    monkeypatch.setattr(Path, "replace", refuse_headers)
    with pytest.raises(StoreWriteError):
        store.save("key", "top_eigs", eigenpairs(2))
    monkeypatch.undo()
    assert store.load("key", "top_eigs") is None
    assert store.problems == []
    store.clean()
    assert [path.name for path in (store.root / "key").iterdir()] == [".lock"]


def test_a_folder_that_cannot_be_made_gives_one_clear_error(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(StoreWriteError, match="taken"):
        Store(tmp_path / "taken").save("key", "trace", 1.0)


def test_leftovers_of_killed_writers_are_ignored_and_removed(store):
    store.save("key", "trace", 1.0)
    folder = store.root / "key"
    (folder / ".top_eigs.json.123-abc.tmp").write_text("{")
    (folder / "top_eigs.npz").write_bytes(b"half")
    assert list(store) == [("key", "trace")]
    assert store.load("key", "top_eigs") is None
    store.clean()
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "trace.json"]
    (folder / ".trace.npz.123-abc.tmp").write_text("")
    store.save("key", "trace", 2.0)
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "trace.json"]


@pytest.mark.parametrize("bad", ["", ".hidden", "../up", "a/b", "-x", "a b", "a\n"])
@pytest.mark.parametrize("argument", ["key", "name"])
def test_names_that_are_no_file_names_are_refused(store, bad, argument):
    names = {"key": "key", "name": "name"} | {argument: bad}
    with pytest.raises(ValueError, match=f"{argument} must"):
        store.save(**names, result=1.0)


def test_only_results_are_stored(store):
    with pytest.raises(TypeError, match="dict"):
        store.save("key", "name", {"value": 1.0})
    with pytest.raises(TypeError, match="'loss' of Quality holds a list"):
        store.save("key", "name", Quality(loss=[1.0], accuracy=1.0, samples=1))
    objects = np.array([object()])
    with pytest.raises(TypeError, match="pickling"):
        store.save("key", "name", Quality(loss=objects, accuracy=1.0, samples=1))
    assert list(store) == []


WRITER = """
import sys, torch
from landscape_fast.results import Trace
from landscape_fast.store import Store
seed = int(sys.argv[2])
for _ in range(30):
    Store(sys.argv[1]).save("key", "trace", Trace(
        value=float(seed), stderr=0.0, draws=torch.full((2000,), float(seed)), converged=True,
        products=seed, samples=seed,
    ))
"""


def test_concurrent_writers_never_mix(store):
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(store.root), seed], cwd=ROOT)
        for seed in ("1", "2")
    ]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        found = store.load("key", "trace")
        if found is not None:
            assert torch.equal(found.draws, torch.full((2000,), found.value))
            seen.add(found.samples)
    assert [writer.returncode for writer in writers] == [0, 0]
    assert seen == {1, 2}
    assert store.problems == []
    assert store.has("key", "trace")


def test_a_lock_held_elsewhere_can_be_refused(tmp_path):
    with (
        locked(tmp_path / "lock"),
        pytest.raises(BlockingIOError),
        locked(tmp_path / "lock", wait=False),
    ):
        pass
    with locked(tmp_path / "lock", wait=False):
        pass
