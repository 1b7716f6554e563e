"""Gates that a hand has damaged, on every store that a hand can reach."""

from collections.abc import Callable

from treadle.core.durations import SECOND
from treadle.core.gates.gate import PLACES, RATE, GateUse
from treadle.testing.conformance.gates import kit as gates
from treadle.testing.conformance.kit import Case, ids_of

DAMAGED_GATES = [
    b"\xff\xfe", b"{", b'"g"', b"[1, 2]", b'["g"]', b'{"a": 1}', b'[{"name": 5}]',
]  # fmt: skip


async def go_on_without(case: Case, damage: Callable[[bytes], None]) -> None:
    """Damage the gates of one job that runs and one that waits; the others are as before."""
    ids = await gates.add(case, 4, gates.places(quota=2))
    worker = await case.worker()
    running = await gates.claim(worker)
    for job in (ids[1], ids[2]):
        damage(job)
    await case.store.prune(100)
    assert (await gates.gate(case, "g")).used == 1
    wide = GateUse("g", RATE, quota=9, period=SECOND, burst=9)
    await case.store.set_gate(wide, change_kind=True)
    await case.store.set_gate(GateUse("g", PLACES, quota=2), change_kind=True)
    case.clock.move(1.1)
    assert sorted(ids_of(await gates.claim(worker))) == ids[2:]
    await gates.finish(worker, running[0])
    await case.store.cancel(ids)
    await case.store.prune(100)
    assert (await gates.gate(case, "g")).used == 0
