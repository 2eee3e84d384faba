"""Plug-ins: classes that a configuration names, looked up among the built-in ones, in modules, and in entry points."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Mapping
from typing import Any, Final

from ringserve.errors import Code, ServingError
from ringserve.loader import Loader

#: Groups of entry points.
LOADERS: Final = "ringserve.loaders"
SOURCES: Final = "ringserve.sources"

# As text: what they name may import more than this package may.
_BUILT_IN: Final[Mapping[str, Mapping[str, str]]] = {
    LOADERS: {
        "tensorflow": "workers.tf.loader:TensorFlowLoader",
        "lookup_table": "workers.lookup_table:LookupTableLoader",
    },
    SOURCES: {},
}
_WHAT: Final = {LOADERS: "platform", SOURCES: "source"}


def find_class(group: str, name: str) -> type[Any]:
    """The class that `name` means: "module:Class", a built-in name, or an entry point of the group.

    Raises ServingError (INVALID_ARGUMENT), with what was expected, also when importing the class fails.
    """
    what = f'{_WHAT[group]} "{name}"'
    reference = _BUILT_IN[group].get(name, name)
    try:
        if ":" in reference:
            found = _imported(reference)
        else:
            entry = next(iter(importlib.metadata.entry_points(group=group, name=name)), None)
            if entry is None:
                raise ServingError(Code.INVALID_ARGUMENT, _unknown(group, what))
            found = entry.load()
    except ServingError:
        raise
    except BaseException as error:  # a module may do anything when it is imported, sys.exit included
        text = f"{what} can't be imported: {type(error).__name__}: {error}"
        raise ServingError(Code.INVALID_ARGUMENT, text) from error
    _check(group, what, found)
    return found  # type: ignore[no-any-return]


def exists(group: str, name: str) -> bool:
    """Is there a plug-in of this name? Nothing of it is imported: only that its package could be is seen."""
    if name in _BUILT_IN[group]:
        return True
    module, colon, path = name.partition(":")
    if not colon:
        return bool(name) and bool(importlib.metadata.entry_points(group=group, name=name))
    if not _is_dotted(module) or not _is_dotted(path):
        return False
    try:  # the top-level package only: a look for what is inside would import it
        return importlib.util.find_spec(module.partition(".")[0]) is not None
    except Exception:
        return False


def _imported(reference: str) -> Any:
    module, _, path = reference.partition(":")
    if not _is_dotted(module) or not _is_dotted(path):
        raise ImportError("module:Class expected")
    found: Any = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    return found


def _is_dotted(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


def _unknown(group: str, what: str) -> str:
    built_in = "".join(f'"{name}", ' for name in _BUILT_IN[group])
    return f'{what} is not known: {built_in}"module:Class" or an entry point of the group {group} expected'


def _check(group: str, what: str, found: Any) -> None:
    """Raises ServingError when it is no class that can do the group's work."""
    if group == LOADERS:
        fits, expected = isinstance(found, type) and issubclass(found, Loader), "a subclass of ringserve.loader.Loader"
    else:
        methods = ("set_aspired_versions_callback", "close")
        fits = isinstance(found, type) and all(callable(getattr(found, method, None)) for method in methods)
        expected = f"a class with the methods {' and '.join(methods)}"
    if not fits:
        raise ServingError(Code.INVALID_ARGUMENT, f"{what} is {found!r}, {expected} expected")
