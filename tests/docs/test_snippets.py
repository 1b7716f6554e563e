"""The README and the guides are run: their code works and prints what they show."""

from pathlib import Path

import pytest

from tests.docs.expected import Ids
from tests.docs.play import PAGE_S, play
from tests.docs.snippets import PAGES, blocks, commands, fences

ONE = "01a1f763-17d9-7129-bcc1-d92d8fb6bfc5"
TWO = "01a1f764-6d4c-72d9-b72d-42b4e74751af"
FENCE = "```"


def _name(page: Path) -> str:
    return page.stem


@pytest.mark.timeout(PAGE_S + 15)
@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_a_page_runs_as_it_is_written(page: Path, tmp_path: Path) -> None:
    """Each block of the page works, in order, in an empty folder."""
    play(page.read_text(encoding="utf-8"), tmp_path.resolve())


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_each_block_says_what_becomes_of_it(page: Path) -> None:
    """No block is left out by mistake: one that is not run says so with the word `text`."""
    text = page.read_text(encoding="utf-8")
    found = blocks(text)
    assert fences(text) == 2 * len(found), "a fence is not closed"
    assert not [f"line {b.line}: {b.info!r}" for b in found if b.kind is None]


def test_a_script_that_fails_fails_the_page(tmp_path: Path) -> None:
    """An error in a block is not overlooked, and the message names the block's line."""
    with pytest.raises(AssertionError, match=r"line 2 .*ended with 1"):
        play(_page("python run", "raise SystemExit(1)"), tmp_path)


def test_a_command_that_prints_something_else_fails_the_page(tmp_path: Path) -> None:
    """What a command prints is compared with what the page shows."""
    play(_page("console", "$ echo it is 12 now\nit is ... now"), tmp_path)
    with pytest.raises(AssertionError, match="but the page shows"):
        play(_page("console", "$ echo it is 12 now\nit was ... then"), tmp_path)


def test_a_page_that_takes_too_long_fails(tmp_path: Path) -> None:
    """A command that does not end is ended at the page's deadline."""
    with pytest.raises(AssertionError, match="did not end in time"):
        play(_page("console", "$ sleep 60"), tmp_path, seconds=0.2)


def test_files_and_output_belong_together(tmp_path: Path) -> None:
    """A titled block can be imported by a script, whose output is compared."""
    page = _page('python title="shop/app.py"', "name = 'shop'") + _page(
        "python run", "from shop.app import name\nprint(name)"
    )
    play(page + _page("output", "shop"), tmp_path)
    with pytest.raises(AssertionError, match="but the page shows"):
        play(page + _page("output", "stop"), tmp_path)


def test_a_background_command_lives_until_the_page_ends(tmp_path: Path) -> None:
    """It runs beside the blocks after it, is told to stop, and its output is compared."""
    waits = "import signal\nsignal.sigwait([signal.SIGTERM])\nprint('told')"
    asks = "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
    page = _page('python title="waits.py"', asks + "print('up', flush=True)\n" + waits)
    page += _page("console background", "$ python waits.py > said\n")
    page += _page("console", "$ until grep -q up said; do sleep 0.01; done")
    play(page, tmp_path)
    assert (tmp_path / "said").read_text(encoding="utf-8") == "up\ntold\n"


def test_an_id_stands_for_the_one_that_came() -> None:
    """An id in a page is any id at first, then the same one, in commands as well."""
    ids = Ids()
    assert ids.accept(f"<Job {ONE} ready>", f"<Job {TWO} ready>\r\n")
    assert ids.real(f"treadle jobs show {ONE}") == f"treadle jobs show {TWO}"
    assert ids.accept(ONE, TWO)
    assert not ids.accept(ONE, ONE)


def test_dots_stand_for_anything() -> None:
    """Dots in a line are any characters, dots alone any lines; blanks and colours do not count."""
    assert Ids().accept("a ...\n...\nz", "a   1 \x1b[1mb\x1b[0m\n\nm\nn\nz\n")
    assert not Ids().accept("a ...\nz", "a 1\nm\nz\n")


def test_a_console_block_begins_with_a_command() -> None:
    """A line before the first command would be compared with nothing."""
    assert commands("$ a\n1\n$ b\n") == [("a", "1\n"), ("b", "")]
    with pytest.raises(ValueError, match="begins with a line"):
        commands("a\n")


def _page(info: str, text: str) -> str:
    return f"\n{FENCE}{info}\n{text}\n{FENCE}\n"
