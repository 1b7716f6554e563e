"""Deaths by the dozen: two workers on one store, killed again and again at its fault points.

Four of five workers start with a fault and die there by their own hand, each fifth dies from
outside wherever it is; so does one that does not come to its fault. All is drawn from a seed, and
the moments are counted in lines of the ledger, not in seconds.
"""

import random
import signal
from collections import Counter
from dataclasses import dataclass
from itertools import count, cycle
from typing import Final

from tests.faults.far import FarScene
from tests.faults.scene import Process, Scene, struck
from treadle.testing.faults import Spec, names_in
from treadle.testing.ledger import Account

OUTSIDE: Final = "outside"
"""The place of a death that came from outside, at no point."""
LATEST: Final = 5
"""The latest of a point's occurrences that is deadly: all are reached within seconds."""
ONCE: Final = ("register.", "rescue.", "start.")
"""Points that a worker passes at its start."""
ELSEWHERE: Final = ("enqueue.", "fire.", "leave.", "note.", "prune.", "stage.")
"""Points that a worker seldom comes to whose tasks only sell; `test_sweep` has them all."""
BYTES_A_JOB: Final = 240
"""About what a job adds to the ledger."""
SHARES_MAX: Final = 4
"""One that does not come to its fault is killed after so many times an even share of the work."""
ASKED_EACH_S: Final = 0.5


@dataclass(frozen=True)
class Mortal:
    """A worker and the fault that it is to die of; None is one that is killed from outside."""

    process: Process
    spec: Spec | None

    @property
    def place(self) -> str:
        """Where it has died."""
        assert self.process.wait() == -signal.SIGKILL, self.process.said
        if self.spec is None or not struck(self.process, self.spec):
            return OUTSIDE
        return self.spec.point


class Deaths:
    """One run: jobs that sell, and workers that die while they do."""

    def __init__(self, scene: Scene, seed: int, *, jobs: int, kills: int) -> None:
        self.scene = scene
        self.draw = random.Random(seed)  # noqa: S311 -- the seed is what replays the run
        self.jobs = jobs
        self.kills = kills
        self.places: Counter[str] = Counter()
        """How many have died where."""
        store = "postgres" if isinstance(scene, FarScene) else "sqlite"
        self.points = sorted(n for n in names_in(store) if not n.startswith(ELSEWHERE))
        """Where workers are made to die, in turn."""
        places = [*self.points, *[OUTSIDE] * (len(self.points) // 4)]
        self.draw.shuffle(places)
        self._places = cycle(places)
        self._cast: list[Mortal] = []
        self._share = max(1, jobs // kills)
        self._brought = 0

    def go(self, patience: float) -> Account:
        """Carry out the run and call every job to account.

        Args:
            patience: how long each wait for the work to go on may take, in seconds.
        """
        scene = self.scene
        self._bring(SHARES_MAX * self._share)
        self._cast = [self._worker(), self._worker()]
        while self.places.total() < self.kills - len(self._cast):
            self._next_death(patience)
        for mortal in self._cast:
            mortal.process.kill()  # They may be armed still, and who finishes must not be.
            self.places[mortal.place] += 1
        self._bring(self.jobs)
        last = [scene.worker(), scene.worker()]
        scene.until_done(patience)
        for worker in last:
            assert scene.stop(worker) == 0, worker.said
        account = scene.account()
        assert account.sound, account
        assert {job.state for job in scene.stored()} == {"succeeded"}
        return account

    def told(self, account: Account) -> str:
        """Say in one line what was counted."""
        effects = self.scene.sold()
        where = ", ".join(f"{place} {n}" for place, n in sorted(self.places.items()))
        return (
            f"{self.jobs} jobs, {self.places.total()} kills, {len(effects)} effects, "
            f"{len(effects) - len(set(effects))} of them double, "
            f"{len(account.overrun)} jobs started more than once; kills: {where}"
        )

    def _worker(self) -> Mortal:
        place = next(self._places)
        slots = str(self.draw.choice([1, 3, 16]))
        if place == OUTSIDE:
            return Mortal(self.scene.worker("--slots", slots), None)
        nth = 1 if place.startswith(ONCE) else self.draw.randint(1, LATEST)
        spec = Spec(place, "kill", nth)
        return Mortal(self.scene.worker("--slots", slots, fault=str(spec)), spec)

    def _bring(self, most: int) -> None:
        """Enqueue so many more jobs, as far as there are any left to bring."""
        keys = range(self._brought, min(self._brought + most, self.jobs))
        self._brought = keys.stop
        if keys:
            self.scene.enqueue("sell", *(f"loop{n}" for n in keys if n % 2))
            self.scene.enqueue("sell_in_thread", *(f"thread{n}" for n in keys if not n % 2))

    def _next_death(self, patience: float) -> None:
        """Wait until one has died by itself, or kill one when it is time; start others."""
        unarmed = [one for one in self._cast if one.spec is None]
        share = BYTES_A_JOB * self._share
        more = self.draw.randint(0, 2 * share) if unarmed else SHARES_MAX * share
        due = self.scene.ledger.path.stat().st_size + more
        asked_every = round(ASKED_EACH_S / self.scene.LOOK_S)
        looks = count(1)

        def time_to_die() -> bool:
            if any(one.process.ended for one in self._cast):
                return True
            if self.scene.ledger.path.stat().st_size >= due:
                return True
            # To ask the store is dear.
            if next(looks) % asked_every or self.scene.unfinished():
                return False
            # Jobs come as they are done, so that the last to die has some, too.
            self._bring(self._share)
            return self._brought == self.jobs

        self.scene.until(time_to_die, "the work goes on", patience)
        if not any(one.process.ended for one in self._cast):
            self.draw.choice(unarmed or self._cast).process.kill()
        for n, one in enumerate(self._cast):
            if one.process.ended:
                self.places[one.place] += 1
                self._cast[n] = self._worker()
