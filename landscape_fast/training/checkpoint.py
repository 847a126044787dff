"""Files of weights: written whole or not at all, read without running code."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

_WRAPPERS = ("state_dict", "model")  # keys under which other programs keep the weights
_PREFIXES = ("module.", "_orig_mod.")  # put before every name by DataParallel and torch.compile


def write_atomically(path: Path, content: Mapping[str, Any]) -> None:
    """Save ``content`` so that ``path`` holds either the whole of it or what was there before.

    Equal content gives equal bytes, whatever the file is called.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with unfinished.open("wb") as file:  # given a path, torch writes its name into the file
            torch.save(dict(content), file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def read_content(path: str | Path, *, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Load what a checkpoint file holds; tensors and plain containers only, no code is run.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, holds other Python objects, or holds no dictionary.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {str(path)!r} does not exist")
    try:
        _check_sums(path)
        content = torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"checkpoint {str(path)!r} is damaged or holds more than tensors and plain containers; "
            f"save it as torch.save(model.state_dict(), path) ({_first_line(error)})"
        ) from error
    except Exception as error:  # a damaged file can raise nearly anything
        raise ValueError(
            f"checkpoint {str(path)!r} is damaged or truncated ({_first_line(error)})"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(
            f"checkpoint {str(path)!r} holds a {type(content).__name__}, expected a state dict"
        )
    return content


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Load the weights in a file: a state dict, bare or under ``state_dict`` or ``model``.

    Prefixes that DataParallel and ``torch.compile`` put before every name are taken off.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged or holds no state dict.
    """
    content: Any = read_content(path)
    for wrapper in _WRAPPERS:
        if isinstance(content.get(wrapper), dict):
            content = content[wrapper]
            break
    if not content or not all(isinstance(value, Tensor) for value in content.values()):
        found = ", ".join(map(repr, list(content)[:5])) or "nothing"
        raise ValueError(f"checkpoint {str(path)!r} holds no state dict; it holds {found}")
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in content):
            content = {name.removeprefix(prefix): value for name, value in content.items()}
    return content


def load_checkpoint(path: str | Path, model: nn.Module) -> None:
    """Load the weights in a file into ``model``, all or none of them.

    Args:
        path: As for :func:`read_state_dict`.
        model: Network of the architecture that was saved; keeps its device and dtype.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, or of another architecture; the message names the first
            few differences, and ``model`` is as it was.

    Example:
        >>> import tempfile
        >>> model = nn.Linear(2, 3)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "linear.pt"
        ...     torch.save({"state_dict": nn.Linear(2, 4).state_dict()}, path)
        ...     load_checkpoint(path, model)
        Traceback (most recent call last):
        ...
        ValueError: checkpoint 'linear.pt' does not fit the model: other shape: weight (saved ...
    """
    saved, wanted = read_state_dict(path), model.state_dict()
    missing = [name for name in wanted if name not in saved]
    unexpected = [name for name in saved if name not in wanted]
    reshaped = [
        f"{name} (saved {_shape(saved[name])}, model {_shape(wanted[name])})"
        for name in wanted
        if name in saved and saved[name].shape != wanted[name].shape
    ]
    differences = [
        f"{kind}: {_few(names)}"
        for kind, names in [
            ("missing from the file", missing),
            ("unknown to the model", unexpected),
            ("other shape", reshaped),
        ]
        if names
    ]
    if differences:
        raise ValueError(
            f"checkpoint {Path(path).name!r} does not fit the model: " + "; ".join(differences)
        )
    model.load_state_dict(saved)


def _check_sums(path: Path) -> None:
    """Raise ``BadZipFile`` if a record differs from its checksum; ``torch.load`` does not look."""
    if not zipfile.is_zipfile(path):
        return  # torch's format before 1.6
    with zipfile.ZipFile(path) as archive:
        for record in archive.infolist():
            if record.CRC:  # 0 where torch was told to save without checksums
                with archive.open(record) as stream:
                    while stream.read(1 << 20):
                        pass


def _few(names: list[str], shown: int = 3) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
