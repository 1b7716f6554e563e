"""The judge of a torture run: what the ledger, the workers' verdicts and the store say together.

"Settled twice" is observed, from three sides: workers write down each verdict that they are
given, with its claim number; the store keeps each job's attempts; and jobs that were seen in a
terminal state during the run are looked at again at its end.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct, structs

from treadle.core.job import TERMINAL, JobState
from treadle.testing.ledger import Account, Entry, Stored, judge

FORGIVEN_MS: Final = 2_000
"""What a server that syncs its file each second may forget when it is killed."""
SHOWN: Final = 10
WITH_ITS_JOB: Final = "/ship"


class Found(Struct, frozen=True):
    """A job as the store has it at the end."""

    id: str
    key: str
    task: str
    state: JobState
    successes: int
    """How many of its attempts are stored as succeeded."""
    reason: str | None = None
    """Why it ended, in the store's word."""


class Tally(Struct, frozen=True):
    """The figures of a run, and the keys behind those that must be nothing."""

    enqueued: int
    """Acknowledged, or found although the call had raised or the producer had died."""
    indeterminate: int
    """Enqueues that raised, or whose producer died before the answer."""
    indeterminate_found: int
    executed: int
    """Jobs whose code has begun at least once."""
    executed_again: int
    """Jobs whose code has begun more than once."""
    settled: int
    """Jobs in a terminal state."""
    late: int
    """Settlements that were refused: another worker had taken over."""
    buried: int
    """Dead letters that have met too many dead workers, apart from those that killed them."""
    failed: int
    """Other dead letters that their tasks did not ask for: all their attempts met a fault."""
    lost: Sequence[str]
    forgotten: Sequence[str]
    """Lost, or done again, within what the server's own setting gives up; counted apart."""
    settled_twice: Sequence[str]
    unsettled: Sequence[str]
    other: Sequence[str]
    """Any other broken promise, each in a few words."""

    @property
    def sound(self) -> bool:
        """Whether no promise was broken."""
        return not (self.lost or self.settled_twice or self.unsettled or self.other)


def verdicts(entries: Iterable[Entry]) -> dict[str, list[tuple[int, JobState, int]]]:
    """Read what was applied to each job: (claim number, state, when), in order of the ledger."""
    found: dict[str, list[tuple[int, JobState, int]]] = defaultdict(list)
    for entry in entries:
        if entry.word == "APPLIED":
            id_, number, state = entry.key.split(":")
            found[id_].append((int(number), JobState(state), entry.at))
    return found


def twice(applied: Sequence[tuple[int, JobState, int]]) -> bool:
    """Tell whether something was applied to a job that had ended, or twice under one claim."""
    numbers = [number for number, _, _ in applied]
    ended = [number for number, state, _ in applied if state in TERMINAL]
    return len(set(numbers)) < len(numbers) or any(
        number > min(ended) for number in numbers if ended
    )


def call_to_account(
    entries: Sequence[Entry],
    found: Sequence[Found],
    seen: Mapping[str, JobState],
    kills: Sequence[int] = (),
) -> Tally:
    """Judge a run.

    Args:
        entries: the ledger.
        found: every job as the store has it at the end.
        seen: terminal states in which jobs were seen during the run, by id.
        kills: when (milliseconds) a server was killed that may forget its last 2 s; else nothing.
    """
    account = judge(entries, [Stored(job.key, job.state, 1) for job in found])
    answered = _last(entries, "OK")
    started = _last(entries, "START")
    known = started | answered
    lost = [key for key in account.lost if not _excused(known.get(key), kills)]
    applied = verdicts(entries)
    again = sorted(_settled_again(found, seen, applied))
    forgiven = {name for name in again if _excused_job(applied[name.split()[0]], kills)}
    tried = {entry.key for entry in entries if entry.word == "TRY"}
    # What a task enqueues in its transaction is acknowledged by that job's success.
    unknown = {key for key in tried - answered.keys() if not key.endswith(WITH_ITS_JOB)}
    there = {job.key for job in found}
    dead_letters = [job for job in found if job.state is JobState.FAILED and not _meant(job)]
    return Tally(
        enqueued=len(there | answered.keys()),
        indeterminate=len(unknown),
        indeterminate_found=len(unknown & there),
        executed=len(started),
        executed_again=len(account.overrun),
        settled=sum(job.state in TERMINAL for job in found),
        late=sum(entry.word == "LOST" for entry in entries),
        buried=sum(dead.reason == "poison" for dead in dead_letters),
        failed=sum(dead.reason != "poison" for dead in dead_letters),
        lost=lost,
        forgotten=[*(key for key in account.lost if key not in set(lost)), *sorted(forgiven)],
        settled_twice=[name for name in again if name not in forgiven],
        unsettled=account.unfinished,
        other=list(_others(account)),
    )


def _last(entries: Iterable[Entry], word: str) -> dict[str, int]:
    return {entry.key: entry.at for entry in entries if entry.word == word}


def _excused(at: int | None, kills: Sequence[int]) -> bool:
    """Tell whether what was answered at that time is what a killed server may forget."""
    return at is not None and any(0 <= kill - at <= FORGIVEN_MS for kill in kills)


def _excused_job(applied: Sequence[tuple[int, JobState, int]], kills: Sequence[int]) -> bool:
    return any(_excused(at, kills) for _, _, at in applied)


def _settled_again(
    found: Iterable[Found],
    seen: Mapping[str, JobState],
    applied: Mapping[str, Sequence[tuple[int, JobState, int]]],
) -> Iterable[str]:
    for job in found:
        verdict = applied.get(job.id, ())
        ends = [state for _, state, _ in verdict if state in TERMINAL]
        if twice(verdict):
            yield f"{job.id} {job.key}: applied {[(n, s.value) for n, s, _ in verdict]}"
        elif job.successes > 1:
            yield f"{job.id} {job.key}: {job.successes} attempts succeeded"
        elif seen.get(job.id, job.state) is not job.state:
            yield f"{job.id} {job.key}: was seen as {seen[job.id]} and is {job.state}"
        elif ends and ends[-1] is not job.state:
            yield f"{job.id} {job.key}: {ends[-1]} was applied and it is {job.state}"


def _meant(job: Found) -> bool:
    return job.task in {"reject", "die_async", "die_in_thread"}


def _others(account: Account) -> Iterable[str]:
    for name in ("unexpected", "doubled", "not_run"):
        keys = getattr(account, name)
        if keys:
            yield f"{len(keys)} {name}: {', '.join(keys[:SHOWN])}"


def with_others(tally: Tally, *broken: str) -> Tally:
    """Add what was found broken elsewhere."""
    return structs.replace(tally, other=[*tally.other, *filter(None, broken)])
