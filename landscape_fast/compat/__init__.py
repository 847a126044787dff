"""Other tools' functions under their own names, computed by this package: see docs/compat.md."""
