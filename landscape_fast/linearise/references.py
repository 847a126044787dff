"""What a function that somebody wrote computes with besides its arguments."""

from __future__ import annotations

import functools
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from types import CodeType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any

from torch import nn

from landscape_fast.linearise.sharing import PLAIN

MANY = 1000  # entries of a container beyond which it is data, not settings: not looked into
MOST = 10_000  # objects that are opened: nobody's loss refers to more on purpose

_HELD = frozenset(vars(nn.Module()))  # of every module

Parts = list[tuple[Any, Any]]


def references(
    function: Callable[..., Any], besides: Sequence[nn.Module] = ()
) -> Iterator[tuple[str, Any]]:
    """Yield what ``function`` refers to, with a path to it: modules whole, else single values.

    Follows closures, defaults, globals, ``functools.partial``, bound methods, small containers and
    namespaces, and objects of classes that no installed package defines, with the classes' methods
    and attributes. Among the globals, functions are followed that are written in the same file; of
    modules of Python count the numbers and words that the function names. Left out are classes and
    objects of packages, such as optimisers.

    Args:
        function: The function or callable object.
        besides: Modules that do not count, as the model that is measured.
    """
    yield from _visited("", function, {id(module): module for module in besides}, _parts)


def settings(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield what containers and namespaces hold, with a path to it; ``value`` if it is neither."""
    yield from _visited(name, value, {}, _contents)


def _visited(
    path: str, value: Any, met: dict[int, Any], parts_of: Callable[[Any], Parts | None]
) -> Iterator[tuple[str, Any]]:
    if id(value) in met or isinstance(value, ModuleType) or len(met) > MOST:
        return
    parts = None if isinstance(value, type) else parts_of(value)
    if isinstance(value, nn.Module) or (parts is None and not isinstance(value, type)):
        yield path, value
    if parts is None:
        return
    met[id(value)] = value  # which keeps its address its own
    for key, part in parts:
        yield from _visited(f"{path}.{key}", part, met, parts_of)


def _contents(value: Any) -> Parts | None:
    """Of a container or a namespace, in a fixed order; None for anything else."""
    if isinstance(value, Mapping):
        return list(value.items()) if len(value) <= MANY else None
    if isinstance(value, list | tuple):
        return list(enumerate(value)) if len(value) <= MANY else None
    if isinstance(value, SimpleNamespace | Namespace):
        return list(vars(value).items())
    if is_dataclass(value) and not callable(value):
        return [(field.name, getattr(value, field.name, None)) for field in fields(value)]
    return None


def _parts(value: Any) -> Parts | None:
    """What a function, an object or a container is made of; None for what is a value itself."""
    if (contents := _contents(value)) is not None:
        return contents
    if isinstance(value, functools.partial):
        return [("func", value.func), ("args", value.args), ("keywords", value.keywords)]
    if isinstance(value, MethodType):
        return [("func", value.__func__), ("self", value.__self__)]
    if isinstance(value, FunctionType):
        return _of_function(value) if _is_own(value.__module__) else None
    if hasattr(value, "__dict__") and _is_own(type(value).__module__):
        return [*_of_object(value), *_of_class(type(value))]
    return None


def _of_object(value: Any) -> Parts:
    """Attributes; of a module, which counts whole, those that hold neither tensors nor modules."""
    if not isinstance(value, nn.Module):
        return list(vars(value).items())
    return [(key, part) for key, part in vars(value).items() if key not in _HELD]


def _of_class(kind: type) -> Iterator[tuple[str, Any]]:
    """Methods and plain attributes of a class and of those of its bases that are the caller's."""
    for base in kind.__mro__:
        if _is_own(base.__module__):
            for key, value in vars(base).items():
                if isinstance(value, FunctionType) or (
                    isinstance(value, PLAIN) and not key.startswith("__")
                ):
                    yield f"{base.__qualname__}.{key}", value


def _of_function(function: FunctionType) -> Parts:
    code = function.__code__
    cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
    known, names = function.__globals__, sorted(_names(code))
    found: Parts = [(name, cell.cell_contents) for name, cell in cells if _is_filled(cell)]
    found += [
        ("defaults", function.__defaults__ or ()),
        ("kwdefaults", function.__kwdefaults__ or {}),
    ]
    for name in names:
        value = known.get(name)
        if isinstance(value, ModuleType):
            held = [(f"{name}.{key}", vars(value)[key]) for key in names if key in vars(value)]
            found += [(path, item) for path, item in held if isinstance(item, PLAIN)]
        elif name in known and not (
            isinstance(value, FunctionType) and value.__globals__ is not known
        ):
            found.append((name, value))
    return found


def _names(code: CodeType) -> set[str]:
    """Names that code and the code inside it look up by name."""
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*map(_names, inner))


@functools.cache
def _is_own(module: str | None) -> bool:
    """Whether a module is the caller's: of no installed package, and not of Python."""
    top = (module or "").partition(".")[0]
    if top in sys.stdlib_module_names or top == "landscape_fast":
        return top == "__main__"
    file = getattr(sys.modules.get(module or ""), "__file__", None) or ""
    return "site-packages" not in file and "dist-packages" not in file


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:  # a name that is not bound yet
        return False
    return True
