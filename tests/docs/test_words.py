"""One word for each thing: the words that the glossary rules out do not come back.

`docs/glossary.md` is the list: what stands in code font in the last column of its table is looked
for in the pages, in the docstrings that users see and in the help of the commands. The other
words of that column (run, try, lock, ...) are ordinary English and are left to reviewers.
"""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import pytest

import treadle
from treadle.cli.main import cli

ROOT: Final = Path(__file__).parents[2]
GLOSSARY: Final = ROOT / "docs" / "glossary.md"

_OTHERS_WORDS: Final = {GLOSSARY, ROOT / "docs" / "guides" / "coming-from.md"}
"""Pages that speak of other systems, in their words."""

_ROW: Final = re.compile(r"^\| [^|]+ \| [^|]+ \|([^|]*)\|$", re.MULTILINE)
PAGES: Final = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def never(glossary: str) -> list[str]:
    """Read the words that must not be used."""
    return [word for row in _ROW.findall(glossary) for word in re.findall(r"`([^`]+)`", row)]


def used(text: str, words: list[str]) -> list[str]:
    """Find the words, whole, in any case, in the singular or plural."""
    found = (rf"\b{re.escape(word)}(?:e?s)?\b" for word in words)
    return [match[0] for each in found for match in re.finditer(each, text, re.IGNORECASE)]


WORDS: Final = never(GLOSSARY.read_text(encoding="utf-8"))


def test_the_glossary_rules_words_out() -> None:
    """The list is read from the table, and what is on it is found in a text."""
    assert {"broker", "actor", "ack", "job class"} <= set(WORDS)
    assert used("The Brokers back a job class.", WORDS) == ["job class", "Brokers"]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page not in _OTHERS_WORDS], ids=lambda page: page.stem
)
def test_a_page_keeps_to_the_words(page: Path) -> None:
    """No page but those about other systems uses a word that the glossary rules out."""
    assert not used(page.read_text(encoding="utf-8"), WORDS)


def test_public_docstrings_keep_to_the_words() -> None:
    """What an editor shows of a public name uses the glossary's words."""
    texts = dict(_docstrings())
    assert len(texts) > 100, "the docstrings of the public surface were not found"
    assert not {name: found for name, text in texts.items() if (found := used(text, WORDS))}


def test_the_help_of_commands_keeps_to_the_words() -> None:
    """What `--help` prints uses the glossary's words."""
    texts = dict(_helps(cli, "treadle"))
    assert "treadle dead replay" in texts
    assert not {name: found for name, text in texts.items() if (found := used(text, WORDS))}


def _docstrings() -> Iterator[tuple[str, str]]:
    for name in treadle.__all__:
        public: object = getattr(treadle, name)
        yield name, inspect.getdoc(public) or ""
        members = inspect.getmembers(public) if inspect.isclass(public) else []
        for member, value in members:
            if not member.startswith("_"):
                yield f"{name}.{member}", inspect.getdoc(value) or ""


def _helps(command: click.Command, name: str) -> Iterator[tuple[str, str]]:
    with click.Context(command, info_name=name) as context:
        yield name, command.get_help(context)
        if isinstance(command, click.Group):
            for each in command.list_commands(context):
                child = command.get_command(context, each)
                assert child is not None, each
                yield from _helps(child, f"{name} {each}")
