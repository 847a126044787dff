"""Finds what a recipe names: a built-in by its name, or anything importable."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import Any


def resolve(
    name: str, known: Mapping[str, Callable[..., Any]], *, argument: str
) -> Callable[..., Any]:
    """Return the callable behind ``name``.

    Args:
        name: A key of ``known``, or ``package.module:callable``.
        known: The built-in callables.
        argument: What the caller calls ``name``; used in messages.

    Raises:
        ValueError: No such built-in, module or attribute; the nearest one is named.
        TypeError: ``package.module:callable`` exists and is not callable.

    Example:
        >>> resolve("math:sqrt", {}, argument="model")(9.0)
        3.0
    """
    check_name(name, known, argument=argument)
    return _imported(name, argument) if ":" in name else known[name]


def check_name(name: str, known: Collection[str], *, argument: str) -> None:
    """Refuse a name that is no built-in and not of the form ``package.module:callable``.

    Raises:
        ValueError: As described; nothing is imported to find out.
    """
    if ":" in name:
        module, _, attribute = name.partition(":")
        if not all(part.isidentifier() for part in [*module.split("."), *attribute.split(".")]):
            raise ValueError(f"{argument} must look like 'package.module:callable', got {name!r}")
    elif name not in known:
        raise ValueError(
            f"{argument} must be one of {', '.join(sorted(known))} or 'package.module:callable', "
            f"got {name!r}{nearest(name, known)}"
        )


def call(target: Callable[..., Any], options: Mapping[str, Any], *, argument: str) -> Any:
    """Call ``target(**options)``; options that it does not take are the caller's mistake.

    Raises:
        ValueError: ``options`` do not fit the signature of ``target``.
    """
    check_options(target, options, argument=argument)
    return target(**options)


def check_options(target: Callable[..., Any], options: Mapping[str, Any], *, argument: str) -> None:
    """Refuse options that ``target`` does not take, and the lack of those that it needs.

    Raises:
        ValueError: As described; the nearest valid option is named.
    """
    try:
        signature = inspect.signature(target)
    except ValueError:  # implemented in C without a signature: only the call can tell
        return
    try:
        signature.bind(**options)
    except TypeError as error:
        unknown = [option for option in options if option not in signature.parameters]
        reason = str(error)
        if unknown:
            reason = f"it takes no {unknown[0]!r}{nearest(unknown[0], signature.parameters)}"
        called = getattr(target, "__name__", repr(target))
        raise ValueError(f"{argument} do not fit {called}{signature}: {reason}") from None


def accepted(target: Callable[..., Any], offered: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the ``offered`` arguments that ``target`` names in its signature."""
    try:
        names = inspect.signature(target).parameters
    except ValueError:  # implemented in C without a signature
        return {}
    return {name: value for name, value in offered.items() if name in names}


def nearest(name: str, valid: Collection[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for a near miss, else the empty string."""
    matches = get_close_matches(name, valid, n=1)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def _imported(name: str, argument: str) -> Callable[..., Any]:
    path, _, attributes = name.partition(":")
    try:
        found: Any = import_module(path)
    except ImportError as error:
        raise ValueError(
            f"{argument} {name!r}: module {path!r} cannot be imported ({error}); install it or "
            "put its folder on PYTHONPATH"
        ) from error
    for attribute in attributes.split("."):
        if not hasattr(found, attribute):
            hint = nearest(attribute, dir(found))
            raise ValueError(f"{argument} {name!r}: {path!r} has no {attribute!r}{hint}")
        found = getattr(found, attribute)
    if not callable(found):
        raise TypeError(f"{argument} {name!r} is not callable, it is a {type(found).__name__}")
    return found
