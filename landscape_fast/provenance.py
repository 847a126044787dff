"""Under which circumstances a number was made: code, libraries, machine, threads."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

from landscape_fast.clock import timestamp


def provenance() -> dict[str, object]:
    """Describe the running code and machine in terms that JSON can hold.

    Returns:
        Package version, git commit of the checkout (``None`` when the code does not run from one),
        versions of Python, torch and numpy, platform, logical cores, torch threads, the CUDA device
        if there is one, and the time of day in UTC.

    Example:
        >>> provenance()["torch"] == torch.__version__
        True
    """
    return {**_fixed(), "threads": torch.get_num_threads(), "written": timestamp()}


def package_version() -> str:
    """Version of the installed package; ``"unknown"`` when it runs uninstalled."""
    try:
        return version("landscape_fast")
    except PackageNotFoundError:
        return "unknown"


@cache
def _fixed() -> dict[str, object]:
    """The part that stays the same while the process runs."""
    return {
        "landscape_fast": package_version(),
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "cuda_device": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _commit() -> str | None:
    """Commit of the checkout this file lies in, with ``-dirty`` when files differ from it."""
    checkout = Path(__file__).resolve().parents[1]
    if not (checkout / ".git").exists():
        return None
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
