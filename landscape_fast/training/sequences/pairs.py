"""Reads aligned sentence pairs from the standard files of translation data sets."""

from __future__ import annotations

import gzip
import html
import io
import lzma
import re
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

_IWSLT_FILE = re.compile(
    r"(train\.tags|IWSLT16\.(?P<set>TEDX?\.\w+))\.de-en\.(?P<language>de|en)(?P<xml>\.xml)?"
)
_SEGMENT = re.compile(r"<seg\b[^>]*>(.*)</seg>")
_TRAINING = "train.tags"
_DAMAGED = (tarfile.TarError, lzma.LZMAError, gzip.BadGzipFile, zlib.error, EOFError)


class Pair(NamedTuple):
    """A sentence and its translation."""

    source: str
    target: str


def read_iwslt16(root: str | Path, test: str = "TED.tst2014") -> tuple[list[Pair], list[Pair]]:
    """Read the German-English pairs of IWSLT 2016.

    Known are the training text (``train.tags.de-en.de`` and ``.en``) and the development and test
    sets, as the campaign's XML or as plain lines, in a folder or in a tar archive, plain or
    compressed by gzip or xz. Header lines are left out, and pairs of which one side is empty.

    Args:
        root: The archive, a folder with the archive, or a folder with the files (or with a folder
            ``de-en`` that has them).
        test: Set to test on.

    Returns:
        Training and test pairs. Training pairs are those of the training text; where that is
        missing, those of all other sets, in the order of their names. Both in file order.

    Raises:
        FileNotFoundError: ``root`` holds none of these files.
        ValueError: There is no set ``test``, nothing is left to train on, a set lacks one language,
            the two languages have different numbers of lines, or a file is damaged.

    References:
        Cettolo, Niehues, Stueker, Bentivogli and Federico (2016), The IWSLT 2016 evaluation
        campaign; Cettolo, Girardi and Federico (2012), WIT3.
    """
    root = Path(root).expanduser()
    texts: dict[str, dict[str, list[str]]] = {}
    for name, content in sorted(_iwslt_files(root).items()):
        found = _IWSLT_FILE.fullmatch(name)
        assert found is not None
        lines = _lines(content, name)
        kept = _segments(lines) if found["xml"] else [s for s in lines if not s.startswith("<")]
        texts.setdefault(found["set"] or _TRAINING, {})[found["language"]] = kept
    if not texts:
        raise FileNotFoundError(
            f"root {str(root)!r} holds no files of IWSLT 2016: neither train.tags.de-en.de and "
            ".en, nor IWSLT16.*.de-en.* in it, in its folder de-en or in a tar archive"
        )
    sets = {name: _aligned(languages, name) for name, languages in texts.items()}
    others = sorted(sets.keys() - {_TRAINING, test})
    if test not in sets or test == _TRAINING:
        raise ValueError(f"test must be one of {', '.join(others) or 'no set'}, got {test!r}")
    train = sets.get(_TRAINING) or [pair for name in others for pair in sets[name]]
    if not train:
        raise ValueError(f"{root} holds no pairs besides those of the test set {test!r}")
    return train, sets[test]


def read_multi30k(root: str | Path) -> tuple[list[Pair], list[Pair]]:
    """Read the German-English captions of Multi30k, task 1.

    Args:
        root: Folder of ``train.de``, ``train.en``, ``test_2016_flickr.de`` and ``.en``, plain or
            with ``.gz``.

    Returns:
        29,000 training pairs and the 1,000 test pairs of 2016, in file order.

    Raises:
        FileNotFoundError: A file is missing; it is named.
        ValueError: The two languages have different numbers of lines, or a file is damaged.

    References:
        Elliott, Frank, Sima'an and Specia (2016), arXiv:1605.00459.
    """
    root = Path(root).expanduser()
    train, test = (
        _aligned({side: _lines(*_plain_or_gzip(root / f"{part}.{side}")) for side in _SIDES}, part)
        for part in ("train", "test_2016_flickr")
    )
    return train, test


_SIDES = ("de", "en")


def _iwslt_files(root: Path) -> Mapping[str, bytes]:
    """Content of every file of the data set by its base name."""
    if root.is_file():
        return _archived(root)
    for folder in (root, root / "de-en"):
        paths = sorted(folder.glob("*.de-en.*"))
        if files := [path for path in paths if _IWSLT_FILE.fullmatch(path.name)]:
            return {path.name: path.read_bytes() for path in files}
        if archives := [path for path in paths if ".tar" in path.suffixes or path.suffix == ".tgz"]:
            return _archived(archives[0])
    return _archived(root / "de-en.tgz") if (root / "de-en.tgz").is_file() else {}


def _archived(path: Path) -> Mapping[str, bytes]:
    contents = {}
    packed = path.read_bytes()
    try:
        # Unpacked as a whole: tarfile takes a truncated file for one that ends earlier.
        if packed.startswith(b"\xfd7zXZ"):
            packed = lzma.decompress(packed)
        elif packed.startswith(b"\x1f\x8b"):
            packed = gzip.decompress(packed)
        with tarfile.open(fileobj=io.BytesIO(packed), mode="r:") as archive:
            for member in archive:
                name = Path(member.name).name
                if _IWSLT_FILE.fullmatch(name) and (file := archive.extractfile(member)):
                    contents[name] = file.read()
    except _DAMAGED as error:
        raise ValueError(f"{path} is damaged or no tar archive ({error})") from error
    return contents


def _plain_or_gzip(path: Path) -> tuple[bytes, str]:
    """Content of ``path``, or of ``path`` with ``.gz``, and the name it was read under."""
    if path.is_file():
        return path.read_bytes(), str(path)
    packed = path.with_name(path.name + ".gz")
    if not packed.is_file():
        raise FileNotFoundError(f"{path} does not exist, nor does {packed.name} beside it")
    try:
        return gzip.decompress(packed.read_bytes()), str(packed)
    except _DAMAGED as error:
        raise ValueError(f"{packed} is damaged ({error})") from error


def _lines(content: bytes, name: str) -> list[str]:
    """Lines without blanks around them. Only a line feed ends one: sentences hold other breaks."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is not UTF-8 ({error})") from error
    return [line.strip() for line in text.removesuffix("\n").split("\n")]


def _segments(lines: Sequence[str]) -> list[str]:
    found = (_SEGMENT.search(line) for line in lines)
    return [html.unescape(segment[1]).strip() for segment in found if segment]


def _aligned(languages: Mapping[str, Sequence[str]], name: str) -> list[Pair]:
    missing = [side for side in _SIDES if side not in languages]
    if missing:
        raise ValueError(f"{name}: the file of language {missing[0]!r} is missing")
    source, target = (languages[side] for side in _SIDES)
    if len(source) != len(target):
        raise ValueError(f"{name}: {len(source)} lines of 'de', but {len(target)} of 'en'")
    return [Pair(de, en) for de, en in zip(source, target, strict=True) if de and en]
