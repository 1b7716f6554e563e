"""Which application does a command mean?

`module:name` names it; `module` alone will do when the module holds one; with neither, the modules
`app`, `main` and `tasks` of the working folder are looked at. The working folder comes first on
`sys.path`, as for `python -m`. What the user's own code raises on import is shown as its own.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Final, NamedTuple

import click

from treadle.app import Treadle
from treadle.cli.view.text import safe

CANDIDATES: Final = ("app", "main", "tasks")
_TRACE_LINES: Final = 12


class Located(NamedTuple):
    """An application and how to name it."""

    app: Treadle
    name: str


class LocateError(click.ClickException):
    """The application cannot be found or imported; the message says what to write."""

    exit_code = 2

    def format_message(self) -> str:
        """Give the message without what could steer the terminal."""
        return safe(self.message, lines=True)


def locate(name: str | None) -> Located:
    """Find the application that `name` means, or the one of the working folder.

    Raises:
        LocateError: there is none, there are several, or its module cannot be imported.
    """
    here = str(Path.cwd())
    if not sys.path or sys.path[0] not in ("", here):
        sys.path.insert(0, here)
    return _discovered() if name is None else _named(name)


def has_candidate() -> bool:
    """Tell whether the working folder holds a module that may have an application."""
    return any(_file_of(name) for name in CANDIDATES)


def _named(name: str) -> Located:
    module_name, _, attribute = name.partition(":")
    if module_name.endswith(".py") or "/" in module_name or not module_name:
        dotted = module_name.removesuffix(".py").strip("./").replace("/", ".") or "app"
        raise LocateError(f"{name!r} is no module:app; write it dotted, for example {dotted}:app")
    module = _imported(module_name)
    if not attribute:
        return _only_one(module)
    value: object = module
    for part in attribute.split("."):
        value = getattr(value, part, None)
    if not isinstance(value, Treadle):
        what = "nothing" if value is None else f"of type {type(value).__name__}"
        there = ", ".join(f"{module_name}:{each}" for each in _instances(module)) or "none"
        raise LocateError(
            f"{name} is {what}, not a Treadle application; in {module_name} there is: {there}"
        )
    return Located(value, name)


def _only_one(module: ModuleType) -> Located:
    found = _instances(module)
    if len({id(app) for app in found.values()}) > 1:
        names = " or ".join(f"{module.__name__}:{each}" for each in found)
        raise LocateError(f"{module.__name__} holds several applications; write {names}")
    if not found:
        raise LocateError(
            f"{module.__name__} holds no application; make one with `app = Treadle(...)`, or name "
            "the module that does"
        )
    attribute, app = next(iter(found.items()))
    return Located(app, f"{module.__name__}:{attribute}")


def _discovered() -> Located:
    """Look at the usual modules; go on while the application found has no tasks."""
    first: Located | None = None
    for name in CANDIDATES:
        if not _file_of(name):
            continue
        module = _imported(name)
        if _instances(module):
            found = _only_one(module)
            first = first or found
        if first is not None and first.app.registry:
            return first
    if first is None:
        tried = ", ".join(f"{name}.py" for name in CANDIDATES)
        raise LocateError(
            f"no application was named, and none of {tried} in {Path.cwd()} holds one; write "
            "--app module:app, or set TREADLE_APP"
        )
    return first


def _file_of(name: str) -> bool:
    return Path(f"{name}.py").is_file() or Path(name, "__init__.py").is_file()


def _instances(module: ModuleType) -> dict[str, Treadle]:
    return {name: value for name, value in vars(module).items() if isinstance(value, Treadle)}


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise LocateError(
                f"there is no module {error.name!r} here; looked in {Path.cwd()} and the "
                "installed packages: run the command in your project's folder"
            ) from error
        raise LocateError(_import_failed(name, error)) from error
    # A module that calls sys.exit() at its top is the user's mistake as much as any other.
    except (Exception, SystemExit) as error:
        raise LocateError(_import_failed(name, error)) from error


def _import_failed(name: str, error: BaseException) -> str:
    """Show the user's own frames of an import that failed."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not _is_machinery(frame.filename)]
    lines = "".join(
        [*traceback.format_list(own), *traceback.format_exception_only(error)]
    ).splitlines()
    shown = "\n".join(f"  {line}" for line in lines[-_TRACE_LINES:])
    return (
        f"the module {name} cannot be imported:\n{shown}\n"
        "Mend this first; `python -c 'import " + name + "'` shows the whole of it."
    )


def _is_machinery(filename: str) -> bool:
    return filename.startswith("<frozen") or filename in {__file__, importlib.__file__}
