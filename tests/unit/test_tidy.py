"""Style as a test: the rules that a machine can check, with no list of exceptions.

It reads the sources as syntax trees and the tracked files as text. Formatting, lint and
types are left to `make check`, the direction of imports to import-linter. A failure names
each place; the mend is to split, rename or move the code, never to raise a limit here.
"""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

import treadle

ROOT: Final = Path(__file__).parents[2]
SRC: Final = ROOT / "src" / "treadle"
TESTS: Final = ROOT / "tests"

FILE_LINES_MAX: Final = 500
FUNCTION_LINES_MAX: Final = 60
HOT_FUNCTION_LINES_MAX: Final = 40
PARAMETERS_MAX: Final = 7
NESTING_MAX: Final = 3
METHODS_MAX: Final = 20
PACKAGE_FILES_MAX: Final = 12
LINE_MAX: Final = 100

HOT_PATH: Final = ("worker/line.py", "worker/execute.py", "core/decide.py")
"""The files every job passes through; their functions have the tighter limit."""

OPTIONAL_EXTRAS: Final = {"pydantic", "uvloop"}
"""Imported inside functions, because they may not be installed."""

ENVIRONMENT_READER: Final = "core/settings.py"
PRINTING_FOLDERS: Final = {"cli", "demo"}
FOREIGN_WORDS_FOLDERS: Final = {"contrib"}
"""Bridges to other systems use the words of those systems."""

BANNED_NAMES: Final = {
    *("util", "utils", "helper", "helpers", "manager", "misc"),  # Names that say nothing.
    *("actor", "broker", "topic", "reservation", "heartbeat", "ack", "nack", "prefetch"),
}
"""Words with no meaning of their own, and words that the vocabulary has another word for."""

# One letter of each stands in brackets, so that this file does not hold what it looks for.
BANNED_TEXT: Final = {
    "an unfinished note": r"\b(?:TO[D]O|FIX[M]E|XX[X])\b",
    "a registry host": r"\b(?:py[p]i\.org|python[h]osted\.|npm[j]s\.|deb\.deb[i]an\.)",
    "a path of the machine it was written on": r"(?<![\w.)}*])/(?:wo[r]k|fa[r]m|ro[o]t)/",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef
Block = (
    ast.If | ast.For | ast.AsyncFor | ast.While | ast.With | ast.AsyncWith | ast.Try | ast.TryStar
) | ast.Match


@cache
def _trees(top: Path) -> dict[Path, ast.Module]:
    """Parse each Python file below a folder, once."""
    files = sorted(top.rglob("*.py"))
    return {file: ast.parse(file.read_bytes(), filename=str(file)) for file in files}


def _sources() -> Iterator[tuple[str, ast.Module]]:
    """Give each source file's path inside the package, and its tree."""
    for file, tree in _trees(SRC).items():
        yield file.relative_to(SRC).as_posix(), tree


def _functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def _lines(node: Function) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _depth(node: ast.AST) -> int:
    """Count how deep blocks stand in blocks; an `elif` is no deeper than its `if`.

    A function inside a function is measured by itself.
    """
    if isinstance(node, Function | ast.Lambda | ast.ClassDef):
        return 0
    inner = 0
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                alternative = name == "orelse" and isinstance(node, ast.If) and len(value) == 1
                inner = max(inner, _depth(child) - (alternative and isinstance(child, ast.If)))
    return inner + isinstance(node, Block)


def _constants(tree: ast.Module) -> Iterator[str]:
    """Give the strings and attribute names by which a file can name a statement."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.Attribute):
            yield node.attr


def _imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Give the line and the module of each import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or "."


def _words(name: str) -> set[str]:
    """Split a snake_case or CamelCase name into its words."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


@cache
def _tracked() -> tuple[Path, ...]:
    """List the files that are in git, or would be if all were added."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)
    files = {ROOT / name for name in listing.stdout.decode().split("\0") if name}
    return tuple(sorted(file for file in files if file.is_file()))


def test_files_are_short() -> None:
    """No file of the sources or the tests is longer than one sitting can read."""
    files = [*_trees(SRC), *_trees(TESTS)]
    counts = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    assert not {str(f.relative_to(ROOT)): n for f, n in counts.items() if n > FILE_LINES_MAX}


def test_functions_are_short() -> None:
    """No function is longer than the limit; on the hot path the limit is tighter."""
    hot = {SRC / name for name in HOT_PATH}
    long = [
        f"{file.relative_to(ROOT)}:{node.lineno} {node.name}: {_lines(node)} lines"
        for file, tree in (_trees(SRC) | _trees(TESTS)).items()
        for node in _functions(tree)
        if _lines(node) > (HOT_FUNCTION_LINES_MAX if file in hot else FUNCTION_LINES_MAX)
    ]
    assert not long


def test_functions_take_few_parameters() -> None:
    """No function takes more parameters than a reader can hold, `self` and `cls` apart."""
    wide = [
        f"{path}:{node.lineno} {node.name}: {len(names)} parameters"
        for path, tree in _sources()
        for node in _functions(tree)
        if len(names := _parameters(node.args)) > PARAMETERS_MAX
    ]
    assert not wide


def _parameters(args: ast.arguments) -> list[str]:
    rest = [arg for arg in (args.vararg, args.kwarg) if arg is not None]
    names = [arg.arg for arg in [*args.posonlyargs, *args.args, *args.kwonlyargs, *rest]]
    return [name for name in names if name not in {"self", "cls"}]


def test_functions_are_not_deeply_nested() -> None:
    """No block of a function stands in more than two other blocks."""
    deep = [
        f"{path}:{node.lineno} {node.name}: {depth} deep"
        for path, tree in _sources()
        for node in _functions(tree)
        if (depth := max(map(_depth, node.body))) > NESTING_MAX
    ]
    assert not deep


def test_classes_have_few_methods() -> None:
    """A class is split by role before it has too many methods; a store has its contract's."""
    large = [
        f"{path}:{node.lineno} {node.name}: {count} methods"
        for path, tree in _sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and not path.startswith("store/")
        if (count := len({f.name for f in node.body if isinstance(f, Function)})) > METHODS_MAX
    ]
    assert not large


def test_packages_fit_on_a_screen() -> None:
    """No package holds more modules than the limit; its map, `__init__.py`, is not counted."""
    modules = [file.parent for file in _trees(SRC) if file.name != "__init__.py"]
    counts = {str(folder.relative_to(ROOT)): modules.count(folder) for folder in set(modules)}
    assert not {folder: n for folder, n in counts.items() if n > PACKAGE_FILES_MAX}


def test_lines_are_short() -> None:
    """No line of code or of a statement is longer than the limit."""
    long = [
        f"{file.relative_to(ROOT)}:{number}"
        for pattern in ("*.py", "*.sql", "*.lua")
        for file in sorted(SRC.rglob(pattern))
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
        if len(line) > LINE_MAX
    ]
    assert not long


def test_names_say_what_they_name() -> None:
    """No module, class or function has an empty name or a word the vocabulary replaced."""
    bad = [
        f"{path}: {name}"
        for path, tree in _sources()
        if path.split("/")[0] not in FOREIGN_WORDS_FOLDERS
        for name in _defined_names(path, tree)
        if _words(name) & BANNED_NAMES
    ]
    assert not bad


def _defined_names(path: str, tree: ast.Module) -> Iterator[str]:
    yield path.removesuffix(".py")
    for node in ast.walk(tree):
        if isinstance(node, Function | ast.ClassDef):
            yield node.name


def test_only_the_settings_loader_reads_the_environment() -> None:
    """An environment variable changes treadle in one place, so it can be listed and checked."""
    readers = {"environ", "environb", "getenv", "getenvb"}
    bad = [
        f"{path}:{node.lineno}"
        for path, tree in _sources()
        if path != ENVIRONMENT_READER
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and node.attr in readers and _is_os(node.value))
        or (isinstance(node, ast.ImportFrom) and node.module == "os" and _names(node) & readers)
    ]
    assert not bad


def _is_os(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "os"


def _names(node: ast.ImportFrom) -> set[str]:
    return {alias.name for alias in node.names}


def test_only_commands_print() -> None:
    """A library logs; what is printed belongs to the command line."""
    bad = [
        f"{path}:{node.lineno}"
        for path, tree in _sources()
        if path.split("/")[0] not in PRINTING_FOLDERS
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if node.func.id == "print"
    ]
    assert not bad


def test_imports_stand_at_the_top() -> None:
    """A function imports nothing but an optional extra: a hidden import hides a cycle."""
    bad = {
        f"{path}:{line} {module}"
        for path, tree in _sources()
        for node in _functions(tree)
        for line, module in _imports(node)
        if module.split(".")[0] not in OPTIONAL_EXTRAS
    }
    assert not bad


def test_statements_are_used() -> None:
    """Each statement and script is named by the code that loads it, or it is dead.

    Migrations are loaded by listing their folder, so that folder's name is enough.
    """
    named = {text for _, tree in _sources() for text in _constants(tree)}
    files = [*SRC.rglob("*.sql"), *SRC.rglob("*.lua")]
    assert not [str(f.relative_to(ROOT)) for f in files if not _ways_to_name(f) & named]


def _ways_to_name(file: Path) -> set[str]:
    folder = {"migrations"} if file.parent.name == "migrations" else set()
    return {file.stem, file.name} | folder


def test_modules_say_what_they_are_for() -> None:
    """Each file opens with a docstring."""
    files = (_trees(SRC) | _trees(TESTS)).items()
    assert not [str(file.relative_to(ROOT)) for file, tree in files if not ast.get_docstring(tree)]


@pytest.mark.parametrize("kind", BANNED_TEXT)
def test_files_hold_nothing_private(kind: str) -> None:
    """No tracked file holds an unfinished note, a registry host or a path of one machine."""
    pattern = re.compile(BANNED_TEXT[kind].encode())
    bad = [str(f.relative_to(ROOT)) for f in _tracked() if pattern.search(f.read_bytes())]
    assert not bad, f"{kind} stands in: {bad}"


def test_the_public_surface_is_its_list() -> None:
    """`treadle.__all__` is sorted as the linter sorts it and names all that is public."""
    found = {name for name, value in vars(treadle).items() if _is_public(name, value)}
    assert treadle.__all__ == sorted(found, key=_surface_order)


def _is_public(name: str, value: object) -> bool:
    return name == "__version__" or not (name.startswith("_") or isinstance(value, ModuleType))


def _surface_order(name: str) -> tuple[int, str]:
    """Order constants first, then classes, then everything else."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


def test_each_module_has_a_layer() -> None:
    """A module that no layer of the import contract names would escape the contract."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    rows = project["tool"]["importlinter"]["contracts"][0]["layers"]
    layers = {name.strip(" ()") for row in rows for name in row.split(":")}
    modules = {_module(path) for path, tree in _sources() if path != "__init__.py"}
    # A package that only holds layers is a map: it may say things, but import nothing.
    maps = {_module(path) for path, tree in _sources() if not list(_imports(tree))}
    outside = {
        name
        for name in modules - maps
        if not any(name == layer or name.startswith(f"{layer}.") for layer in layers)
    }
    assert not outside, f"give these a place in the layers of pyproject.toml: {sorted(outside)}"


def _module(path: str) -> str:
    return "treadle." + path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
