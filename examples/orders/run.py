"""The demo: what `make demo` runs, from an empty folder to a ledger that agrees.

It starts a mail server and two workers, lets the shop enqueue its jobs, kills a worker, mends
a fault, replays dead letters and compares the store with the files. Each step is a method of
`Demo`. Exit codes: 0 all is proven, 1 something does not agree, 2 something took too long.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from examples.orders.children import SLOTS, ChildError, Children
from examples.orders.crash import Comeback, Killer, comebacks, problems, show_comebacks
from examples.orders.ledger import Ledger, read_ledger, reason
from examples.orders.place import ORDERS_CSV, REFUSED_TXT, Place, program
from examples.orders.rows import read_rows
from examples.orders.screen import Screen
from examples.orders.watch import TookTooLongError, Watch
from treadle import Treadle

QUICK_CUSTOMERS: Final = 80
QUICK_PACE: Final = 0.7
TIME_S: Final = 50.0
"""How long the whole run may take."""
MENDED: Final = "550 5.1.2 domain is not set up"
"""What the dead letters say whose cause the demo mends."""


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
        self._comebacks: list[Comeback] = []
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
        self._screen.heading("treadle: a shop checks its orders and bills its customers")
        self._place.reports.mkdir()
        shutil.copy(REFUSED_TXT, self._place.refused)
        port = self._children.start_mail_server()
        for name in ("worker 1", "worker 2"):
            self._start_worker(name)
        say(f"folder   {self._place.home}")
        say("store    jobs.db in it, one SQLite file")
        say(f"workers  2 processes with {SLOTS} slots each")
        say(f"mail     a server of our own on port {port}: busy at times, and choosy")

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
        self._screen.heading(f"1. Check {len(self._rows):,} orders: one job for each row of a file")
        self._children.run_shop("check", *self._words)
        self._watch.until_done({"orders": len(self._rows)}, 30)
        dead = self._app.queues.counts("orders").get("failed", 0)
        self._screen.say(
            f"{dead} rows are bad. They would be as bad the next time, so the task has raised "
            "Reject, and their jobs are dead letters: kept, with the reason, and not tried again."
        )

    def _bill(self) -> None:
        """Enqueue reports and mails, kill a worker meanwhile, show what became of its jobs."""
        self._screen.heading("2. A report and a mail for each customer, and a worker that dies")
        self._children.run_shop("bill")
        counts = self._watch.counts()
        totals = {name: sum(counts.get(name, {}).values()) for name in ("reports", "mail")}
        killer = Killer(self._app, self._children, after=totals["mail"] // 20)
        self._watch.until_so("a worker that runs 10 jobs", totals, killer.try_now, 15)
        killed = killer.killed
        assert killed is not None, "until_so returns only when the killer has killed"
        killed.show(self._screen)
        self._start_worker("worker 3")
        self._screen.say(
            "worker 3 takes its place. A job that may have killed a worker is run alone first, so "
            "it goes slowly for a moment."
        )
        self._watch.until_done(totals, 30)
        self._comebacks = comebacks(killed)
        self._screen.say("What the store says of the jobs that were running in it:")
        show_comebacks(self._comebacks, self._names, self._screen)
        self._problems += problems(self._comebacks)

    def _mend_and_replay(self) -> None:
        """Show the dead letters, mend the cause of some, replay those, leave the others."""
        self._screen.heading("3. Dead letters: look, mend the cause, replay")
        dead = self._app.dead.list(limit=1_000)
        kinds = Counter((job.task, reason(job)) for job in dead)
        rows = [(task, why, f"{count:,}") for (task, why), count in sorted(kinds.items())]
        self._screen.table(("task", "what its task said", "#dead letters"), rows)
        domain = MENDED.partition(" ")[2]
        refused = self._place.refused.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in refused if line.partition(" ")[2].strip() != domain]
        self._place.refused.write_text("".join(kept), encoding="utf-8")
        total = sum(self._app.queues.counts("mail").values())
        replayed = [job for job in dead if reason(job) == MENDED]
        count = self._app.dead.replay([job.id for job in replayed])
        self._screen.say(f"The missing domain is set up now, so {count} mails are replayed:")
        self._watch.until_done({"mail": total}, 20)
        done = sum(job.refresh().state == "succeeded" for job in replayed)
        if not done == count == len(replayed) > 0:
            self._problems.append(
                f"of {len(replayed)} mails {count} were replayed and {done} of these succeeded"
            )
        left = len(dead) - done
        self._screen.say(f"The other {left} stay dead letters on purpose: they would fail again.")

    def _compare(self) -> Ledger:
        """Compare the store with the files."""
        self._screen.heading("4. The ledger: the store beside what the tasks left behind")
        ledger = read_ledger(self._place)
        self._problems += ledger.problems
        ledger.show(self._screen)
        return ledger

    def _sum_up(self, ledger: Ledger, seconds: float) -> None:
        """Say what has been seen, and what to try next."""
        screen, command = self._screen, self._screen.command
        if self._problems:
            screen.heading("The demo has found something wrong")
            for problem in self._problems:
                screen.say(problem, "bold red")
        else:
            screen.heading(f"All {ledger.jobs:,} jobs are accounted for, after {seconds:.0f} s")
            screen.say(
                f"A worker died while it ran {len(self._comebacks)} jobs; other workers noticed "
                "and ran them again. A busy mail server was asked again later. What could not "
                "work was put aside with its reason, and replayed once its cause was mended. "
                "Nothing was lost."
            )
        treadle, store = program(), f"--store {self._place.store}"
        screen.heading("Try next (the folder stays until you remove it)")
        example = self._comebacks[0].job
        command(f"{treadle} jobs show {example} {store}", "a job that outlived its worker")
        command(f"{treadle} dead ls {store}", "what is dead, and why")
        command(f"{treadle} queues ls {store}", "what became of all")
        command("less examples/orders/app.py", "how the tasks are written")
        command(f"rm -r {self._place.home}", "when you are done")


def main(argv: Sequence[str]) -> int:
    """Read the command line and run the demo; return the exit code."""
    parser = argparse.ArgumentParser(prog="make demo", description="Watch real jobs run.")
    parser.add_argument("--quick", action="store_true", help="with fewer customers")
    parser.add_argument("--folder", type=Path, help="an empty folder for the run's files")
    said = parser.parse_args(argv)
    home = said.folder or Path(tempfile.mkdtemp(prefix="treadle-"))
    home.mkdir(parents=True, exist_ok=True)
    if any(home.iterdir()):
        parser.error(f"{home} is not empty; name a new folder")
    # A SIGTERM ends the demo as Ctrl-C does, so that no worker is left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    place = Place(home.resolve(), pace=QUICK_PACE if said.quick else 1.0)
    try:
        return Demo(place, Screen(), QUICK_CUSTOMERS if said.quick else None).run()
    except (TookTooLongError, ChildError) as error:
        print(f"The demo gives up: {error}. Its files, logs among them, are in {home}.")
        return 2
    except KeyboardInterrupt:
        print(f"Stopped. The files of this run are in {home}.")
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
