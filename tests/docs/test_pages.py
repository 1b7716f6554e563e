"""The guides can be read: their links arrive, and each sentence has a line of its own."""

import re
from pathlib import Path
from typing import Final

import pytest

from tests.docs.snippets import ROOT, blocks

GUIDES: Final = ROOT / "docs" / "guides"
PAGES: Final = (*sorted(GUIDES.glob("*.md")), ROOT / "docs" / "glossary.md")
_LINK: Final = re.compile(r"\]\(([^)#:]*)#([\w-]+)\)")
_TWO_SENTENCES: Final = re.compile(r"(?<!^\d)(?<=[\w)`])[.?!] [A-Z`]")


def prose(page: Path) -> str:
    """Give a page's text without its code blocks and tables."""
    text = page.read_text(encoding="utf-8")
    for block in blocks(text):
        text = text.replace(block.text, "")
    return "\n".join(line for line in text.splitlines() if not line.startswith("|"))


def anchors(page: Path) -> set[str]:
    """Give the anchors of a page's headings, as the hosts of repositories make them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_into_a_page_name_one_of_its_headings(page: Path) -> None:
    """A link with an anchor leads to a heading that is there."""
    links = _LINK.findall(page.read_text(encoding="utf-8"))
    targets = [(page.parent / file if file else page, anchor) for file, anchor in links]
    assert not [f"{t.name}#{anchor}" for t, anchor in targets if anchor not in anchors(t)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_sentence_has_its_own_line(page: Path) -> None:
    """So a change of one sentence is a change of one line."""
    assert not [line for line in prose(page).splitlines() if _TWO_SENTENCES.search(line)]


def test_each_guide_can_be_found_from_the_first_one() -> None:
    """Getting started links to every other guide."""
    first = (GUIDES / "getting-started.md").read_text(encoding="utf-8")
    assert not [
        g.name
        for g in GUIDES.glob("*.md")
        if f"({g.name})" not in first and g.name != "getting-started.md"
    ]


def test_each_idiom_is_in_the_table() -> None:
    """An example of an idiom is found by the handle of the idiom."""
    table = (GUIDES / "coming-from.md").read_text(encoding="utf-8")
    files = sorted((ROOT / "examples" / "idioms").glob("i*.py"))
    assert files
    assert not [file.name for file in files if f"idioms/{file.name})" not in table]
