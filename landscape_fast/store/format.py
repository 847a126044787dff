"""The file format: a result as a JSON header and an archive of arrays, and back.

``docs/store.md`` describes it for readers without this package.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

from landscape_fast import results

SCHEMA = 1

_CLASSES: dict[str, Any] = {
    name: kind for name, kind in vars(results).items() if is_dataclass(kind)
}
_NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_KEYS = {"schema", "class", "fields", "arrays", "arrays_sha256", "provenance", "sha256"}


class RefusedError(Exception):
    """Why a file is not taken for a result."""


def pack(result: Any, provenance: Mapping[str, object]) -> tuple[bytes, bytes | None]:
    """Return the header and, where the result has arrays, the content of its ``.npz``.

    Args:
        result: Dataclass of ``landscape_fast.results`` or a plain ``float``.
        provenance: Kept in the header; made of what JSON holds, non-finite floats included.

    Raises:
        TypeError: ``result`` or one of its fields is of a kind the format does not hold.
    """
    scalars, tensors = _split(result)
    arrays = {name: _to_numpy(value) for name, value in tensors.items()}
    archive = _archive(arrays) if arrays else None
    header = {
        "schema": SCHEMA,
        "class": type(result).__name__,
        "fields": scalars,
        "arrays": {name: _describe(value) for name, value in tensors.items()},
        "arrays_sha256": hashlib.sha256(archive).hexdigest() if archive else None,
        "provenance": _encode(provenance),
    }
    header["sha256"] = _digest(header)
    return json.dumps(header, indent=1, allow_nan=False).encode(), archive


def parse(text: bytes) -> dict[str, Any]:
    """Read a header and check it against itself.

    Raises:
        RefusedError: Not JSON, not a header, of another schema, or changed since it was written.
    """
    try:
        header = json.loads(text)
    except ValueError as error:
        raise RefusedError(f"the header is not JSON ({error})") from error
    if not isinstance(header, dict) or "schema" not in header:
        raise RefusedError("this is not the header of a result")
    if header["schema"] != SCHEMA:
        raise RefusedError(f"schema {header['schema']!r} where this version reads {SCHEMA}")
    if set(header) != _KEYS:
        raise RefusedError(f"the header lacks or adds {sorted(set(header) ^ _KEYS)}")
    if header["sha256"] != _digest(header):
        raise RefusedError("the header does not match its checksum")
    return header


def check(header: Mapping[str, Any], archive: bytes | None) -> None:
    """Check that a parsed header and its arrays are a result of this version, without building it.

    Args:
        header: From :func:`parse`.
        archive: Content of the ``.npz``; ``None`` when there is no such file.

    Raises:
        RefusedError: The arrays are missing or changed, or the class is not one of this version's.
    """
    if header["arrays"]:
        if archive is None:
            raise RefusedError("the .npz file is missing")
        if hashlib.sha256(archive).hexdigest() != header["arrays_sha256"]:
            raise RefusedError("the .npz file does not match its checksum")
    if header["class"] == "float":
        return
    kind = _CLASSES.get(header["class"])
    if kind is None:
        raise RefusedError(f"class {header['class']!r} is unknown to this version")
    wrong = {*header["fields"], *header["arrays"]} ^ _fields_of(kind)
    if wrong:
        raise RefusedError(f"fields {sorted(wrong)} are missing or unknown")


def unpack(header: Mapping[str, Any], archive: bytes | None) -> Any:
    """Rebuild the result of a parsed header.

    Args:
        header: From :func:`parse`.
        archive: As for :func:`check`.

    Raises:
        RefusedError: See :func:`check`.
    """
    check(header, archive)
    values = {name: _decode(value) for name, value in header["fields"].items()}
    if archive is not None and header["arrays"]:
        values |= _arrays(archive, header["arrays"])
    return values["value"] if header["class"] == "float" else _CLASSES[header["class"]](**values)


@cache
def _fields_of(kind: type) -> frozenset[str]:
    return frozenset(field.name for field in fields(kind))


def _split(result: Any) -> tuple[dict[str, Any], dict[str, torch.Tensor | np.ndarray]]:
    """Fields that JSON holds, and fields that need arrays."""
    kind = type(result)
    if kind is float:
        return {"value": _encode(result)}, {}
    if _CLASSES.get(kind.__name__) is not kind:
        raise TypeError(
            f"result must be a dataclass of landscape_fast.results or a float, got {kind.__name__}"
        )
    scalars: dict[str, Any] = {}
    arrays: dict[str, torch.Tensor | np.ndarray] = {}
    for field in fields(kind):
        value = getattr(result, field.name)
        if isinstance(value, torch.Tensor | np.ndarray):
            arrays[field.name] = value
        elif _is_plain(value):
            scalars[field.name] = _encode(value)
        else:
            raise TypeError(
                f"field {field.name!r} of {kind.__name__} holds a {type(value).__name__}; "
                "results are made of numbers, strings and arrays"
            )
    return scalars, arrays


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, bool | int | float | str)


def _encode(value: Any) -> Any:
    """Strict JSON: a non-finite float becomes ``{"float": "nan" | "inf" | "-inf"}``."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(float(value))}
    if isinstance(value, Mapping):
        return {str(key): _encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encode(item) for item in value]
    return value


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_decode, value))
    return _NON_FINITE[value["float"]] if isinstance(value, dict) else value


def _digest(header: Mapping[str, Any]) -> str:
    """Checksum of everything in the header but the checksum itself."""
    body = {key: value for key, value in header.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _describe(value: torch.Tensor | np.ndarray) -> dict[str, Any]:
    kind = "tensor" if isinstance(value, torch.Tensor) else "array"
    dtype = str(value.dtype).removeprefix("torch.")
    return {"kind": kind, "dtype": dtype, "shape": list(value.shape)}


def _to_numpy(value: torch.Tensor | np.ndarray) -> np.ndarray:
    """The same bits as a numpy array; types numpy lacks travel as integers of their size."""
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            raise TypeError("an array of Python objects cannot be stored without pickling")
        return value
    tensor = value.detach().cpu().resolve_conj().resolve_neg()
    try:
        return tensor.numpy()
    except TypeError:
        return tensor.view(_same_size(tensor.dtype)).numpy()


def _same_size(dtype: torch.dtype) -> torch.dtype:
    """Integer type that carries the bits of a type numpy lacks, such as bfloat16."""
    return {1: torch.uint8, 2: torch.int16}[dtype.itemsize]


def _archive(arrays: Mapping[str, np.ndarray]) -> bytes:
    """An ``.npz``; as ``np.savez`` writes it, but with no name reserved and pickling refused."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    return buffer.getvalue()


def _arrays(archive: bytes, described: Mapping[str, Any]) -> dict[str, torch.Tensor | np.ndarray]:
    """Arrays of an archive whose checksum was right, in the types the header names."""
    values: dict[str, torch.Tensor | np.ndarray] = {}
    with np.load(io.BytesIO(archive), allow_pickle=False) as members:
        for name, entry in described.items():
            array: torch.Tensor | np.ndarray = members[name]
            if entry["kind"] == "tensor":
                dtype = getattr(torch, entry["dtype"])
                tensor = torch.from_numpy(array)
                array = tensor if tensor.dtype == dtype else tensor.view(dtype)
            values[name] = array
    return values
