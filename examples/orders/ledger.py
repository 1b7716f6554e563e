"""Does what the store says agree with what the tasks have really done?

The ledger reads the store, what the shop wrote down when it enqueued, and the files that the
tasks and the mail server wrote; nobody counts anything twice for it. `python -m
examples.orders.ledger FOLDER` prints it again for the folder of a run; its exit code is 1 when
something does not agree.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from msgspec import json

from examples.orders.place import Place
from examples.orders.screen import Screen
from treadle import Job, Treadle

TASKS: Final = {
    "check_order": "accepted orders",
    "write_report": "report files",
    "send_bill": "mails received",
}
"""What each task leaves behind."""
_PAGES_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class Account:
    """What is known of one task's jobs, from the store and from outside."""

    task: str
    enqueued: frozenset[str]
    """Ids that the shop wrote down."""
    stored: dict[str, Job[Any]]
    found: Counter[str]
    """What the jobs left behind, by the name of the job's subject; a double counts twice."""

    @property
    def succeeded(self) -> frozenset[str]:
        """What should have been left behind, by name."""
        return frozenset(subject(job) for job in self.stored.values() if job.state == "succeeded")

    @property
    def dead(self) -> Counter[str]:
        """How many dead letters there are for each reason."""
        return Counter(reason(job) for job in self.stored.values() if job.state == "failed")

    @property
    def lost(self) -> frozenset[str]:
        """Ids that the store said yes to and that have not come to an end there."""
        ended = {id_ for id_, job in self.stored.items() if job.is_terminal}
        return self.enqueued - ended

    @property
    def doubles(self) -> int:
        """How often something was left behind once more than needed."""
        return self.found.total() - len(self.found)

    def problems(self) -> Iterator[str]:
        """Say what does not agree."""
        what = TASKS[self.task]
        if self.lost:
            yield f"{self.task}: {len(self.lost)} jobs are lost: {_some(self.lost)}"
        if unknown := self.stored.keys() - self.enqueued:
            yield f"{self.task}: {len(unknown)} jobs that nobody enqueued: {_some(unknown)}"
        if missing := self.succeeded - self.found.keys():
            yield f"{what}: {len(missing)} are missing although their jobs succeeded: " + _some(
                missing
            )
        if extra := self.found.keys() - self.succeeded:
            yield f"{what}: {len(extra)} are there although no job succeeded: {_some(extra)}"


@dataclass(frozen=True, slots=True)
class Ledger:
    """The whole account of a run."""

    accounts: Sequence[Account]
    again: Counter[str] = field(default_factory=Counter)
    """How the attempts ended that had another one after them."""

    @property
    def jobs(self) -> int:
        """How many jobs were enqueued."""
        return sum(len(account.enqueued) for account in self.accounts)

    @property
    def problems(self) -> list[str]:
        """Say what does not agree; nothing when all does."""
        return [problem for account in self.accounts for problem in account.problems()]

    def show(self, screen: Screen) -> None:
        """Print it."""
        rows = [
            (
                account.task,
                f"{len(account.enqueued):,}",
                f"{len(account.succeeded):,}",
                f"{account.dead.total():,}",
                f"{len(account.lost):,}",
                f"{len(account.found):,} {TASKS[account.task]}",
                f"{account.doubles:,}",
            )
            for account in self.accounts
        ]
        screen.table(
            ("task", "#enqueued", "#succeeded", "#dead", "#lost", "left behind", "#twice"), rows
        )
        again = self.again
        screen.say(
            f"Attempts that another one came after: {again['failed']} had failed (the mail server "
            f"was busy), {again['lost']} died with their worker, {again['rejected']} were replayed."
        )
        doubles = sum(account.doubles for account in self.accounts)
        screen.say(
            f"Done twice: {doubles}. The mail server had taken these mails, but the worker died "
            "before it could note that. This is 'at least once'; both carry one Message-ID."
            if doubles
            else "Nothing was done twice this time; after a crash it may be ('at least once')."
        )


def read_ledger(place: Place) -> Ledger:
    """Read everything of a run that has come to rest.

    Raises:
        OSError: a file of the run cannot be read.
        StoreError: the store cannot be read.
    """
    app = Treadle(place.store)
    try:
        found = left_behind(place)
        enqueued = list(map(json.decode, _lines(place.enqueued)))
        accounts = [
            Account(
                task,
                frozenset(line["id"] for line in enqueued if line["task"] == task),
                {job.id: job for job in all_jobs(app, task)},
                found[task],
            )
            for task in TASKS
        ]
        jobs = [job for account in accounts for job in account.stored.values() if job.attempt > 1]
        again = Counter(early.outcome for job in jobs for early in job.attempts()[:-1])
        return Ledger(accounts, again)
    finally:
        app.close()


def left_behind(place: Place) -> dict[str, Counter[str]]:
    """Count what the tasks left behind."""
    accepted = (json.decode(line)["order_id"] for line in _lines(place.accepted))
    # The id of a mail is its job's id, made into an address.
    mails = (json.decode(line)["id"].partition("@")[0] for line in _lines(place.mails))
    return {
        "check_order": Counter(accepted),
        "write_report": Counter(path.stem for path in place.reports.glob("C*.txt")),
        "send_bill": Counter(mails),
    }


def subject(job: Job[Any]) -> str:
    """Name what a job leaves behind: an order, a customer's report, or the mail of this job."""
    if job.task == "send_bill":
        return job.id
    first = job.args[0]
    return str(first if isinstance(first, str) else first["order_id"])


def reason(job: Job[Any]) -> str:
    """Say what a dead letter died of: what its task said when it rejected it, or its error."""
    return "unknown" if job.error is None else job.error.message


def all_jobs(app: Treadle, task: str) -> Iterator[Job[Any]]:
    """Read every job of a task, page by page."""
    cursor = None
    for _ in range(_PAGES_MAX):
        page = app.jobs(task=task, limit=1_000, cursor=cursor)
        yield from page
        cursor = page.cursor
        if cursor is None:
            return


def _lines(path: Path) -> list[bytes]:
    """Read a file's lines; a file that no task has made yet has none."""
    return path.read_bytes().splitlines() if path.exists() else []


def _some(names: frozenset[str] | set[str]) -> str:
    first = sorted(names)[:3]
    return ", ".join(first) + (", ..." if len(names) > len(first) else "")


def main(argv: Sequence[str]) -> int:
    """Print the ledger of the run in a folder; return the exit code."""
    if len(argv) != 1 or not (Path(argv[0]) / "jobs.db").exists():
        print("usage: python -m examples.orders.ledger FOLDER, with the folder of a run")
        return 2
    ledger = read_ledger(Place(Path(argv[0])))
    screen = Screen()
    ledger.show(screen)
    for problem in ledger.problems:
        screen.say(f"  does not agree: {problem}", "bold red")
    if not ledger.problems:
        screen.say("  Everything agrees.")
    return 1 if ledger.problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
