"""The command line."""

from __future__ import annotations

import sys

_STUDY_EXTRA = {"jinja2", "matplotlib", "pydantic", "rich", "sklearn", "typer", "yaml"}


def main() -> None:
    """Run ``landscape-fast``; the entry point of the package."""
    try:
        from landscape_fast.cli.app import app
    except ModuleNotFoundError as error:
        if error.name not in _STUDY_EXTRA:
            raise
        sys.exit(
            f"landscape-fast needs {error.name}, which is not installed: "
            "pip install 'landscape_fast[study]'"
        )
    app()
