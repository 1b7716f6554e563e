"""The demo: what `make demo` runs, from an empty folder to a ledger that agrees.

It starts a mail server and two workers, lets the shop enqueue its jobs, kills a worker, mends
a fault, replays dead letters and compares the store with the files. Each step is a method of
`Demo`. Exit codes: 0 all is proven, 1 something does not agree, 2 something took too long.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from examples.orders.children import ChildError, Children
from examples.orders.crash import Killer, comebacks, problems, show_comebacks
from examples.orders.ledger import Ledger, read_ledger
from examples.orders.place import ORDERS_CSV, REFUSED_TXT, Place, program
from examples.orders.rows import read_rows
from examples.orders.screen import Screen
from examples.orders.watch import TookTooLongError, Watch
from treadle import Treadle

QUICK_CUSTOMERS: Final = 60
TIME_S: Final = 55.0
"""How long the whole run may take."""
MENDED: Final = "550 5.1.2 domain is not set up"
"""The reason of the dead letters whose cause the demo mends."""


class Demo:
    """One run of the demo."""

    def __init__(self, place: Place, screen: Screen, customers: int | None) -> None:
        self._place = place
        self._screen = screen
        self._words = [] if customers is None else [str(customers)]
        self._rows = list(read_rows(ORDERS_CSV, customers))
        self._children = Children(place)
        self._app = Treadle(place.store)
        self._watch = Watch(self._app, self._children, screen, TIME_S)
        self._names: dict[str, str] = {}
        self._example = ""
        self._problems: list[str] = []

    def run(self) -> int:
        """Run it from start to end; return the exit code.

        Raises:
            TookTooLongError, ChildError: a step did not end in time, or a process ended badly.
        """
        began = time.monotonic()
        with self._children:
            self._start()
            self._check_orders()
            self._bill()
            self._mend_and_replay()
            codes = self._children.stop_workers()
        self._app.close()
        self._problems += [f"{name} ended with code {code}" for name, code in codes.items() if code]
        ledger = self._compare()
        self._sum_up(ledger, time.monotonic() - began)
        return 1 if self._problems else 0

    def _start(self) -> None:
        """Start the mail server and two workers."""
        say = self._screen.say
        say("treadle demo: a shop checks its orders and bills its customers", "bold")
        self._place.reports.mkdir()
        shutil.copy(REFUSED_TXT, self._place.refused)
        port = self._children.start_mail_server()
        for name in ("worker 1", "worker 2"):
            self._start_worker(name)
        say(f"  folder  {self._place.home}")
        say(f"  store   {self._place.home / 'jobs.db'}, one SQLite file")
        say(f"  mail    a server of its own on port {port}; it only writes down what it gets")
        say("  workers 2 processes with 16 slots each")

    def _start_worker(self, name: str) -> None:
        """Start a worker and wait until the store knows it."""
        child = self._children.start_worker(name)

        def known() -> bool:
            found = [state.id for state in self._app.workers() if state.pid == child.pid]
            self._names.update(dict.fromkeys(found, name))
            return bool(found)

        self._watch.until(f"{name} to be ready", known, 15)

    def _check_orders(self) -> None:
        """Enqueue a job for each row and see them all end."""
        self._screen.heading(f"1. Check {len(self._rows):,} orders, one job for each row of a file")
        self._children.run_shop("check", *self._words)
        self._watch.until_done({"orders": len(self._rows)}, 30)
        dead = self._app.queues.counts("orders").get("failed", 0)
        self._screen.say(
            f"  {dead} rows are bad. No second attempt would make them better, so their task "
            "raised Reject, and they are dead letters: kept, with the reason."
        )

    def _bill(self) -> None:
        """Enqueue reports and mails, kill a worker meanwhile, show what became of its jobs."""
        self._screen.heading("2. A report and a mail for each customer; a worker dies meanwhile")
        self._children.run_shop("bill")
        counts = self._watch.counts()
        totals = {name: sum(counts.get(name, {}).values()) for name in ("reports", "mail")}
        killer = Killer(self._app, self._children)
        self._watch.until_so("a worker that runs 10 jobs", totals, killer.try_now, 15)
        killed = killer.killed
        assert killed is not None
        killed.show(self._screen)
        self._start_worker("worker 3")
        self._screen.say("  worker 3 takes its place.")
        self._watch.until_done(totals, 30)
        found = comebacks(killed)
        self._screen.say("\n  What became of the jobs that were running, read from the store:")
        show_comebacks(found, self._names, self._screen)
        self._example = found[0].job
        self._problems += problems(found)

    def _mend_and_replay(self) -> None:
        """Show the dead letters, mend the cause of some, replay those, leave the others."""
        self._screen.heading("3. Dead letters: look, mend the cause, replay")
        self._show_dead()
        refused = self._place.refused.read_text(encoding="utf-8").splitlines()
        kept = [line for line in refused if not MENDED.endswith(line.partition(" ")[2])]
        self._place.refused.write_text("\n".join(kept) + "\n", encoding="utf-8")
        mails = sum(self._app.queues.counts("mail").values())
        replayed = self._app.dead.replay(task="send_bill", reason=MENDED)
        self._screen.say(
            f"\n  The mail server now knows the missing domain, so {replayed} mails are replayed:"
        )
        self._watch.until_done({"mail": mails}, 20)
        left = [group for group in self._app.dead.groups() if group.reason == MENDED]
        self._problems += [f"{group.count} replayed mails are dead again" for group in left]
        self._screen.say("  The others stay dead letters on purpose: nothing was mended for them.")

    def _show_dead(self) -> None:
        groups = sorted(self._app.dead.groups(), key=lambda group: (group.task, -group.count))
        rows = [(f"  {group.task}", group.reason, f"{group.count:,}") for group in groups]
        self._screen.table(("  task", "reason", "#dead letters"), rows)

    def _compare(self) -> Ledger:
        """Compare the store with the files."""
        self._screen.heading("4. The ledger: the store beside what the tasks left behind")
        ledger = read_ledger(self._place)
        self._problems += ledger.problems
        ledger.show(self._screen)
        return ledger

    def _sum_up(self, ledger: Ledger, seconds: float) -> None:
        """Say what has been seen, and what to try next."""
        say, command = self._screen.say, self._screen.command
        if self._problems:
            self._screen.heading("The demo has found something wrong:")
            for problem in self._problems:
                say(f"  {problem}", "bold red")
        else:
            self._screen.heading(
                f"All {ledger.jobs:,} jobs are accounted for, after {seconds:.0f} s"
            )
        treadle, store = program(), f"--store {self._place.store}"
        self._screen.heading("Try next (the folder stays until you remove it)")
        command(f"{treadle} jobs show {self._example} {store}", "a job that outlived its worker")
        command(f"{treadle} dead groups {store}", "what is dead, and why")
        command(f"{treadle} jobs ls --state succeeded --limit 5 {store}", "the newest jobs")
        command(f"rm -r {self._place.home}", "when you are done")


def main(argv: Sequence[str]) -> int:
    """Read the command line and run the demo; return the exit code."""
    parser = argparse.ArgumentParser(prog="make demo", description="Watch real jobs run.")
    parser.add_argument("--quick", action="store_true", help="with fewer customers")
    parser.add_argument("--folder", type=Path, help="an empty folder for the run's files")
    said = parser.parse_args(argv)
    home = said.folder or Path(tempfile.mkdtemp(prefix="treadle-demo-"))
    home.mkdir(parents=True, exist_ok=True)
    if any(home.iterdir()):
        parser.error(f"{home} is not empty; name a new folder")
    try:
        return Demo(Place(home.resolve()), Screen(), QUICK_CUSTOMERS if said.quick else None).run()
    except (TookTooLongError, ChildError) as error:
        print(f"The demo gives up: {error}. Its files, logs among them, are in {home}.")
        return 2
    except KeyboardInterrupt:
        print(f"Stopped. The files of this run are in {home}.")
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
