"""A store behind a URL keeps results whole, as a folder does; its failures likewise."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import fsspec
import pytest
import torch

from landscape_fast.results import Quality, Trace
from landscape_fast.store import Store, StoreWriteError
from landscape_fast.store.folders import RemoteFiles


@pytest.fixture
def url():
    memory = fsspec.filesystem("memory")
    yield "memory://bucket/study"
    if memory.exists("/bucket"):
        memory.rm("/bucket", recursive=True)


@pytest.fixture(params=["memory", "folder"])
def store(request, tmp_path) -> Store:
    return Store(request.getfixturevalue("url") if request.param == "memory" else tmp_path)


def trace(value: float = 1.5) -> Trace:
    draws = torch.full((7,), value, dtype=torch.float64)
    return Trace(value=value, stderr=0.1, draws=draws, converged=True, products=7, samples=3)


def test_results_come_back_and_are_listed(store):
    store.save("w8", "trace", trace(), seconds=2.0)
    store.save("w8", "quality", Quality(loss=1.0, accuracy=2.0, samples=3))
    again = Store(store.root)
    assert torch.equal(again.load("w8", "trace").draws, trace().draws)
    assert list(again) == [("w8", "quality"), ("w8", "trace")]
    store.delete("w8", "trace")
    assert list(again) == [("w8", "quality")]
    assert again.load("w8", "trace") is None
    assert again.problems == []


def test_headers_of_many_come_in_the_order_asked_for(store):
    for key in ("a", "b", "c"):
        store.save(key, "trace", trace(), seconds=1.0)
    asked = [("c", "trace"), ("a", "missing"), ("none", "trace"), ("a", "trace")]
    found = list(store.headers(asked))
    assert [header is not None for header in found] == [True, False, False, True]
    assert found[0]["provenance"]["seconds"] == 1.0


def test_damage_is_seen_by_whoever_reads_many_headers(store):
    store.save("a", "trace", trace())
    store.save("b", "trace", trace())
    store._files.write("a/trace.json", b"{")
    store._files.remove("b/trace.npz")
    addresses = [("a", "trace"), ("b", "trace")]
    assert list(store.headers(addresses)) == [None, None]
    assert "not JSON" in store.problems[0].reason
    assert "npz file is missing" in store.problems[1].reason
    assert str(store.root) in str(store.problems[0])


def test_headers_without_arrays_do_not_read_them(store, monkeypatch):
    store.save("a", "trace", trace())
    read: list[str] = []
    plain = type(store._files).read
    monkeypatch.setattr(
        type(store._files), "read", lambda self, name: read.append(name) or plain(self, name)
    )
    assert [header is not None for header in store.headers([("a", "trace")], arrays=False)]
    assert "a/trace.npz" not in read


def test_a_failure_stays_until_its_result_is_there(store):
    store.failures.record("w8", "trace", "ValueError: no", "Traceback ...")
    store.failures.record("w8", "quality", "OSError: no", "")
    (first, second) = Store(store.root).failures
    assert (first.name, first.message) == ("quality", "OSError: no")
    assert (second.key, second.detail) == ("w8", "Traceback ...")
    assert list(store) == []
    store.save("w8", "trace", trace())
    store.failures.forget("w8", "quality")
    assert list(store.failures) == []


def test_a_record_that_cannot_be_read_is_a_failure_all_the_same(store):
    store._files.write("w8/trace.failed", b"{") if isinstance(store.root, str) else None
    if isinstance(store.root, Path):
        (store.root / "w8").mkdir()
        (store.root / "w8/trace.failed").write_text("[]")
    assert [each.message for each in store.failures] == ["unreadable record"]


def test_attachments_travel_and_are_no_results(store):
    store.attach("w8", "weights.pt", b"bits")
    assert store.attachment("w8", "weights.pt") == b"bits"
    assert store.attachment("w9", "weights.pt") is None
    assert store.attached("weights.pt") == {"w8"}
    assert list(store) == []
    with pytest.raises(ValueError, match=r"got 'trace\.json'"):
        store.attach("w8", "trace.json", b"")


def test_a_place_that_refuses_is_one_clear_error(url, monkeypatch):
    store = Store(url)

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(type(store._files._fs), "pipe_file", refuse)
    with pytest.raises(StoreWriteError, match=r"Disk quota exceeded.*memory://bucket/study/w8"):
        store.save("w8", "trace", trace())
    assert list(Store(url)) == []


def test_a_place_that_moves_files_never_shows_a_half_one(url, monkeypatch):
    files = RemoteFiles(url)
    monkeypatch.setattr(files, "_moves", True)
    seen: list[list[str]] = []
    plain = files._fs.mv
    monkeypatch.setattr(
        type(files._fs), "mv", lambda self, a, b: seen.append(list(files.names())) or plain(a, b)
    )
    files.write("w8/trace.json", b"whole")
    assert seen == [[]]
    assert list(files.names()) == ["w8/trace.json"]


def test_a_url_has_no_paths_and_a_file_url_is_a_folder(url, tmp_path):
    with pytest.raises(ValueError, match="is no folder and has no paths"):
        Store(url).path("key", "name")
    assert Store(tmp_path.as_uri()).path("key", "name") == tmp_path / "key/name.json"
    with pytest.raises(ValueError, match="nonesuch"):
        Store("nonesuch://bucket")
