"""`treadle relay` as it is typed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner, Result

from tests.transit.kit import WAIT_S, Shop
from tests.transit.test_relay import until, write
from treadle.cli.main import cli

HANDS: Final = ["relay", "--outbox"]


def invoke(shop: Shop, *words: str) -> Result:
    """Call the command in this process."""
    where = ["--store", shop.app.settings.store]
    return CliRunner().invoke(cli, [*HANDS, shop.url, *where, *words])


def test_it_relays_once_and_says_how_many(shop: Shop) -> None:
    """With --json as a document; the status says what waits before and after."""
    write(shop, 1, 2)
    before = json.loads(invoke(shop, "--status", "--json").output)
    assert (before["waiting"], before["set_aside"]) == (2, 0)
    assert before["oldest_seconds"] >= 0
    done = invoke(shop, "--once", "--json")
    assert (done.exit_code, json.loads(done.stdout)["sent"]) == (0, 2)
    assert "0 jobs waiting; 0 set aside" in invoke(shop, "--status").output


def test_a_row_that_is_set_aside_is_told_until_it_is_mended(shop: Shop) -> None:
    """The exit code is 1, the status names it, and --again relays it once it can be read."""
    [id_] = write(shop, 1)
    table = shop.outbox.table
    turn = f"update {table} set job = "  # noqa: S608 -- ours
    with shop.connected() as db:
        [[raw]] = db.execute(f"select job from {table}").fetchall()  # noqa: S608 -- ours
        db.execute(turn + ("x'00'" if shop.is_file else "'\\x00'"))
        db.commit()
        assert invoke(shop, "--once").exit_code == 1
        status = invoke(shop, "--status")
        assert (status.exit_code, id_ in status.output) == (1, True)
        db.execute(turn + ("?" if shop.is_file else "%s"), (bytes(raw),))
        db.commit()
    assert invoke(shop, "--once", "--again").exit_code == 0
    assert shop.stored() == [id_]


def test_the_table_is_printed_and_made(shop: Shop) -> None:
    """What --sql prints can be run by hand; --migrate may run again."""
    with shop.connected() as db:
        db.execute(f"drop table {shop.outbox.table}")
        db.execute(invoke(shop, "--sql").output)
        db.commit()
    assert invoke(shop, "--migrate").exit_code == 0
    write(shop, 1)
    assert invoke(shop, "--once").exit_code == 0


def test_a_missing_table_says_how_it_is_made(shop: Shop) -> None:
    """One line on standard error, and the exit code 2."""
    with shop.connected() as db:
        db.execute(f"drop table {shop.outbox.table}")
        db.commit()
    said = invoke(shop, "--once")
    assert said.exit_code == 2
    assert "treadle relay --migrate" in said.stderr


def test_migrate_makes_the_outbox_too(shop: Shop, tmp_path: Path) -> None:
    """An application whose settings name an outbox needs no second command."""
    with shop.connected() as db:
        db.execute(f"drop table {shop.outbox.table}")
        db.commit()
    where = ["--store", f"sqlite:///{tmp_path}/jobs.db"]
    done = CliRunner().invoke(cli, ["migrate", *where], env={"TREADLE_OUTBOX": shop.url})
    assert done.exit_code == 0, done.output
    assert shop.say(shop.outbox.backlog()).waiting == 0


def test_without_an_outbox_there_is_nothing_to_relay(tmp_path: Path) -> None:
    """The error names the three ways to say where it is."""
    said = CliRunner().invoke(cli, ["relay", "--store", f"sqlite:///{tmp_path}/jobs.db"])
    assert said.exit_code == 2
    assert "TREADLE_OUTBOX" in said.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_goes_on_until_a_signal(shop: Shop, number: signal.Signals) -> None:
    """It ends cleanly, and says how much it has relayed."""
    words = ["--store", shop.app.settings.store, "--outbox", shop.url]
    child = subprocess.Popen(
        [sys.executable, "-m", "treadle", "relay", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"PYTHONWARNINGS": "error"},
    )
    try:
        write(shop, 1, 2)
        until(lambda: len(shop.stored()) == 2, "both are relayed")
        child.send_signal(number)
        said, _ = child.communicate(timeout=WAIT_S)
    finally:
        child.kill()
        child.wait(WAIT_S)
    assert (child.returncode, said) == (0, "2 jobs relayed.\n")


def test_it_stops_cleanly_though_nobody_reads_what_it_says(shop: Shop) -> None:
    """What it says is for whoever looks; what it does is to relay, and it ends with 0."""
    words = ["--store", shop.app.settings.store, "--outbox", shop.url]
    reader, writer = os.pipe()
    os.close(reader)
    child = subprocess.Popen(
        [sys.executable, "-m", "treadle", "relay", *words], stdout=writer, stderr=writer
    )
    os.close(writer)
    try:
        write(shop, 1, 2)
        until(lambda: len(shop.stored()) == 2, "both are relayed")
        child.send_signal(signal.SIGTERM)
        assert child.wait(WAIT_S) == 0
    finally:
        child.kill()
        child.wait(WAIT_S)
