"""What of reading images is left to torchvision, where it is installed."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any


def datasets(wanted_for: str) -> Any:
    """Return ``torchvision.datasets``.

    Args:
        wanted_for: What needs it; used in the message.

    Raises:
        ImportError: torchvision is not installed, or does not fit the installed torch.
    """
    try:
        return import_module("torchvision.datasets")
    except (ImportError, RuntimeError) as error:  # RuntimeError: built for another torch
        raise ImportError(
            f"{wanted_for} needs torchvision: pip install torchvision ({error})"
        ) from error


def download(name: str, root: str | Path, **options: Any) -> None:
    """Fetch the standard files of a data set into ``root``; what is there is left alone.

    Args:
        name: A class of ``torchvision.datasets``.
        root: Folder.
        options: Further arguments of that class, which choose the part.

    Raises:
        ImportError: See :func:`datasets`.
    """
    getattr(datasets(f"download of {name}"), name)(
        str(Path(root).expanduser()), download=True, **options
    )
