"""Where does one run of the demo keep its files?

A `Place` names every file in the folder of a run, for the tasks, the mail server, the ledger
and the driver alike. It reads and writes nothing. The tasks find the folder through the
environment variable `ORDERS_HOME`, because workers are processes of their own.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).resolve().parents[2]
"""The folder from which `examples.orders` can be imported."""
ORDERS_CSV: Final = Path(__file__).with_name("orders.csv")
REFUSED_TXT: Final = Path(__file__).with_name("refused.txt")


@dataclass(frozen=True, slots=True)
class Place:
    """The folder of one run."""

    home: Path
    smtp_port: int = 25
    pace: float = 1.0
    """What the pretended work takes, as a share of its usual time."""

    @classmethod
    def of_environment(cls) -> Place:
        """Find the folder, the mail server and the pace that the driver has named."""
        said = os.environ
        return cls(
            Path(said.get("ORDERS_HOME", ".")),
            int(said.get("ORDERS_SMTP", "25")),
            float(said.get("ORDERS_PACE", "1")),
        )

    def environment(self) -> dict[str, str]:
        """Give the environment in which workers and the shop find this place."""
        kept = {name: text for name, text in os.environ.items() if not name.startswith("TREADLE_")}
        own = {
            "ORDERS_HOME": str(self.home),
            "ORDERS_SMTP": str(self.smtp_port),
            "ORDERS_PACE": str(self.pace),
            "TREADLE_STORE": self.store,
        }
        return kept | own

    @property
    def store(self) -> str:
        """The URL of the store."""
        return f"sqlite:///{self.home / 'jobs.db'}"

    @property
    def enqueued(self) -> Path:
        """What the shop enqueued, one job a line, written after the store had said yes."""
        return self.home / "enqueued.jsonl"

    @property
    def accepted(self) -> Path:
        """The orders that passed the check, one a line, written by the check's task."""
        return self.home / "accepted.jsonl"

    @property
    def reports(self) -> Path:
        """The folder of the customers' reports, one file each."""
        return self.home / "reports"

    @property
    def mails(self) -> Path:
        """What the mail server received, one mail a line."""
        return self.home / "mails.jsonl"

    @property
    def refused(self) -> Path:
        """The addresses and domains that the mail server refuses; it may change meanwhile."""
        return self.home / "refused.txt"

    def log(self, name: str) -> Path:
        """Name the file that takes what a process prints."""
        return self.home / f"{name}.log"


def program() -> str:
    """Name the `treadle` command beside this interpreter, as a person here would type it."""
    command = Path(sys.executable).with_name("treadle")
    if not command.exists():
        return "treadle"
    here = Path.cwd()
    return str(command.relative_to(here) if command.is_relative_to(here) else command)
