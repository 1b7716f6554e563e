"""Access: the verbs for reading and for control, as the store's face has them.

They need only the runner and the clock; the verbs of the line, with all that belongs to a worker,
are in `store`. A read that could be long goes page by page, because nothing else runs on the
server while a script does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from msgspec import json

from treadle.core.job import AttemptRecord, JobRecord
from treadle.store.contract import Filter, QueueRecord, WorkerRecord
from treadle.store.redis.engine.runner import Runner, Steps
from treadle.store.redis.engine.wire import Word
from treadle.store.redis.rescue import read_info
from treadle.store.redis.rows import read_attempts, read_lines, read_number, read_record
from treadle.store.redis.scripts import script

if TYPE_CHECKING:
    from treadle.core.clock import Clock

IDS_MAX: Final = 200
"""Jobs that one call of a script reads or changes whole."""
LOOKS_MAX: Final = 1_000
"""Entries of an index that one call looks at."""

_decode = json.Decoder().decode


class RedisAccess:
    """Reads and control of a store in Redis."""

    _runner: Runner
    _clock: Clock | None

    def _now(self, now: int | None) -> str:
        """Give the time to go by; nothing for the server's own."""
        if now is None and self._clock is not None:
            now = self._clock.wall()
        return "" if now is None else str(now)

    async def _read(self, name: str, *words: Word) -> Any:  # noqa: ANN401
        steps = self._runner.script(script(name), (self._now(None), *words), again=True)
        return await self._runner.run(steps)

    async def _act(self, name: str, words: Sequence[Word], now: int | None) -> Any:  # noqa: ANN401
        """Run a script whose answer says what this call did: sent twice it would say less."""
        steps = self._runner.script(script(name), (self._now(now), *words), again=False)
        return await self._runner.run(steps)

    # Reads

    async def get(self, ids: Sequence[bytes]) -> Sequence[JobRecord | None]:
        """Read jobs by id."""
        found: list[JobRecord | None] = []
        for start in range(0, len(ids), IDS_MAX):
            page = ids[start : start + IDS_MAX]
            found += _records(page, await self._runner.run(self._get(page)))
        return found

    def get_now(self, ids: Sequence[bytes]) -> Sequence[JobRecord | None]:
        """Read jobs by id on the caller's own thread."""
        found: list[JobRecord | None] = []
        for start in range(0, len(ids), IDS_MAX):
            page = ids[start : start + IDS_MAX]
            found += _records(page, self._runner.run_now(self._get(page)))
        return found

    def _get(self, ids: Sequence[bytes]) -> Steps[Any]:
        words = (self._now(None), *(id_.hex() for id_ in ids))
        return self._runner.script(script("get"), words, again=True)

    async def ended(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        """Tell which jobs have ended or are gone."""
        found: list[bytes] = []
        for start in range(0, len(ids), LOOKS_MAX):
            page = ids[start : start + LOOKS_MAX]
            answer = await self._read("ended", *(id_.hex() for id_ in page))
            found += [id_ for id_, over in zip(page, answer, strict=True) if over == ord("1")]
        return found

    async def find(
        self, which: Filter, *, limit: int = 100, before: bytes | None = None
    ) -> Sequence[JobRecord]:
        """Read the newest jobs that match."""
        found: list[JobRecord] = []
        said = [str(value or "") for value in (which.state, which.queue, which.task, which.reason)]
        last = b"" if before is None else before.hex().encode()
        while len(found) < limit:
            room = min(limit - len(found), IDS_MAX)
            now, after, rows = await self._read("find", last, LOOKS_MAX, room, *said)
            for id_, flat in rows:
                record = read_record(bytes.fromhex(id_.decode()), flat, int(now))
                if which.tag is None or which.tag in _tags(record.tags):
                    found.append(record)
            if after is None:
                break
            last = after
        return found

    async def attempts(self, job: bytes) -> Sequence[AttemptRecord]:
        """Read a job's attempts."""
        past, last = await self._read("story", job.hex(), "attempts")
        return read_attempts(past, last)

    async def logs(self, job: bytes) -> Sequence[tuple[int, int, str, str]]:
        """Read a job's log lines."""
        return read_lines(await self._read("story", job.hex(), "logs"))

    async def queues(self) -> Sequence[QueueRecord]:
        """Read every queue with its counts."""
        rows, flat = await self._read("queues", "")
        counts: dict[str, dict[str, int]] = {}
        for name, count in zip(flat[::2], flat[1::2], strict=True):
            queue, _, state = name.decode(errors="replace").rpartition(":")
            if (number := read_number(count)) is not None:
                counts.setdefault(queue, {})[state] = number
        found = []
        for raw, paused_at, oldest in rows:
            name = raw.decode(errors="replace")
            found.append(
                QueueRecord(name, bool(paused_at), counts.get(name, {}), read_number(oldest))
            )
        return sorted(found, key=lambda queue: queue.name)

    async def ready(self, queues: Sequence[str] | None) -> bool:
        """Tell, without writing, whether a job may be ready in these queues."""
        if queues is not None and not queues:
            return False
        return bool(await self._read("queues", "1", *(queues or ())))

    async def workers(self) -> Sequence[WorkerRecord]:
        """Read the registered workers."""
        now, rows = await self._read("watch")
        found = []
        for raw, info, started_at, _, beat_at, running in rows:
            # One that only left orphans behind is not registered any more.
            if info is not None:
                beat = read_number(beat_at)
                age = None if beat is None else max(0, int(now) - beat)
                record = read_info(raw.decode(errors="replace"), info)
                found.append(WorkerRecord(record, read_number(started_at) or 0, age, running))
        return found

    async def dead_groups(self, limit: int = 100) -> Sequence[tuple[str, str, str, int, int]]:
        """Count dead letters by task, reason and error."""
        counts: Counter[tuple[str, str, str]] = Counter()
        newest: dict[tuple[str, str, str], int] = {}
        last: bytes | None = b""
        while last is not None:
            last, rows = await self._read("dead", last, LOOKS_MAX)
            for *texts, finished_at in rows:
                task, reason, kind = (text.decode(errors="replace") for text in texts)
                group = (task, reason, kind)
                counts[group] += 1
                newest[group] = max(newest.get(group, 0), read_number(finished_at) or 0)
        best = sorted(counts, key=lambda group: (-counts[group], group))[:limit]
        return [(*group, counts[group], newest[group]) for group in best]

    # Control

    async def cancel(self, ids: Sequence[bytes], *, now: int | None = None) -> Sequence[bool]:
        """Cancel jobs that have not ended."""
        return await self._each("cancel", ids, now)

    async def retry(self, ids: Sequence[bytes], *, now: int | None = None) -> Sequence[bool]:
        """Make ended or waiting jobs ready."""
        return await self._each("retry", ids, now)

    async def discard(self, ids: Sequence[bytes]) -> Sequence[bool]:
        """Delete ended jobs."""
        return await self._each("discard", ids, None)

    async def _each(self, name: str, ids: Sequence[bytes], now: int | None) -> Sequence[bool]:
        done: list[bool] = []
        for start in range(0, len(ids), IDS_MAX):
            page = [id_.hex() for id_ in ids[start : start + IDS_MAX]]
            done += [said == ord("1") for said in await self._act(name, page, now)]
        return done

    async def purge(self, queue: str, *, limit: int, now: int | None = None) -> int:
        """Cancel waiting jobs of a queue, a page at a time."""
        done, passed, over = 0, 0, 0
        while done < limit and not over:
            room = min(limit - done, LOOKS_MAX)
            words = (queue, room, passed, LOOKS_MAX)
            gone, skipped, over = await self._act("purge", words, now)
            done, passed = done + gone, passed + skipped
        return done

    async def pause(self, queue: str, *, now: int | None = None) -> bool:
        """Stop claims from a queue."""
        return bool(await self._act("pause", (queue, "1"), now))

    async def resume(self, queue: str, *, now: int | None = None) -> bool:
        """Allow claims again."""
        return bool(await self._act("pause", (queue, "0"), now))


def _records(ids: Sequence[bytes], answer: list[Any]) -> list[JobRecord | None]:
    now, rows = int(answer[0]), answer[1]
    pairs = zip(ids, rows, strict=True)
    return [None if flat is None else read_record(id_, flat, now) for id_, flat in pairs]


def _tags(raw: bytes | None) -> Sequence[object]:
    """Read tags; bytes that are no list of them hold none."""
    try:
        tags = _decode(raw or b"[]")
    except ValueError:
        return ()
    return tags if isinstance(tags, list) else ()
