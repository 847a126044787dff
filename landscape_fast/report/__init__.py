"""One page per study: a single HTML file that needs no network and no other file."""

try:
    import jinja2  # noqa: F401
except ImportError as error:
    error.add_note("reports need Jinja2; run `pip install 'landscape_fast[study]'`")
    raise

from landscape_fast.report.page import write_report

__all__ = ["write_report"]
