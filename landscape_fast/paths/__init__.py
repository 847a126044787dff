"""Paths between models that were trained, and between runs that part."""
