"""`make torture`: faults at random from a seed against workers and producers, then a ledger.

Prints the ledger as a table, writes it as JSON, and ends with 1 when a promise was broken or the
backlog did not drain. A broken run keeps its folder with the ledger and every log.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from msgspec import to_builtins

from tests.torture import report
from tests.torture.run import Wanted, new_seed, torture
from tests.torture.stage import Stage
from treadle.testing.servers import NoServerError


def main() -> int:
    """Read the command line, run, and tell."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("store", choices=["sqlite", "postgres", "redis"])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--producers", type=int, default=2)
    parser.add_argument(
        "--appendfsync", choices=["always", "everysec"], default="always", help="Redis alone"
    )
    parser.add_argument("--keep", action="store_true", help="keep the folder of a sound run, too")
    parser.add_argument("--out", type=Path, default=None, help="where the JSON goes")
    said = parser.parse_args()
    seed = new_seed() if said.seed is None else said.seed
    wanted = Wanted(
        said.store, said.minutes * 60, seed, said.workers, said.producers, said.appendfsync
    )
    out = said.out or Path(f"torture-{said.store}-{seed}.json")
    try:
        return run(wanted, out, keep=said.keep)
    except NoServerError as error:
        sys.stderr.write(f"treadle: {error}\n")
        return 2


def run(wanted: Wanted, out: Path, *, keep: bool = False) -> int:
    """Run, and tell what came of it."""
    stage = Stage(wanted.store, wanted.seed, wanted.appendfsync)
    with stage:
        say(f"torture of {wanted.store}, seed {wanted.seed}, in {stage.folder}")
        done = torture(stage, wanted, say)
    for missing, there in (
        ("a clock of its own", done.means.clocks),
        ("a small disk", done.means.disk),
    ):
        if not there and (missing != "a small disk" or wanted.store != "redis"):
            say(f"left out, because no process here can be given {missing}: its faults")
    head: dict[str, Any] = {
        **to_builtins(wanted), "means": to_builtins(done.means), "drained_s": done.drained_s,
    }  # fmt: skip
    report.write(out, head, done.tally, done.struck)
    title = f"{wanted.store}, {wanted.seconds / 60:g} min, seed {wanted.seed}, {out}"
    say(report.table(title, done.tally, done.struck))
    if done.tally.sound and not keep:
        stage.tidy()
    else:
        say(f"the ledger and the logs are in {stage.folder}")
    return 0 if done.tally.sound else 1


def say(line: str) -> None:
    """Print at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
