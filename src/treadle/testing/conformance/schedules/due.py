"""What reading schedules promises: what is due, by name, and page by page."""

from treadle.core.durations import SECOND
from treadle.store.parts.scheduled import Move
from treadle.testing.conformance.kit import Case, scenario


def made(name: str, due: int | None = None, body: bytes = b"{}") -> Move:
    """Make a schedule of this name."""
    return Move(name, 0, body, due)


class TestDueSchedules:
    """`due_schedules`: what somebody should look at."""

    @scenario
    async def test_the_longest_due_comes_first(self, case: Case) -> None:
        """What is due comes in the order of its instants, whatever the order it was made in."""
        moves = [made(f"s{n}", case.now - n) for n in (3, 1, 4, 0)]
        await case.store.fire([*moves, made("later", case.now + 1), made("never")])
        found = await case.store.due_schedules(100)
        assert [row.name for row in found.rows] == ["s4", "s3", "s1", "s0"]
        assert [row.due for row in found.rows] == [case.now - n for n in (4, 3, 1, 0)]
        assert {(row.revision, row.body) for row in found.rows} == {(1, b"{}")}

    @scenario
    async def test_the_answer_is_bounded(self, case: Case) -> None:
        """No more come than were asked for, and none is lost for that."""
        await case.store.fire([made(f"s{n:03}", case.now - 500 + n) for n in range(300)])
        found = await case.store.due_schedules(100)
        assert [row.name for row in found.rows] == [f"s{n:03}" for n in range(100)]
        assert found.next_due is None

    @scenario
    async def test_it_says_when_the_next_one_is_due(self, case: Case) -> None:
        """In microseconds from now, of those that are not due yet."""
        await case.store.fire([made("a", case.now), made("b", case.now + 7), made("c")])
        found = await case.store.due_schedules(10)
        assert (found.now, found.next_due) == (case.now, 7)
        case.clock.move(1)
        found = await case.store.due_schedules(10)
        assert (len(found.rows), found.next_due, found.now) == (2, None, case.now)

    @scenario
    async def test_now_can_be_given(self, case: Case) -> None:
        """`now=` moves time, as for every verb."""
        await case.store.fire([made("a", case.now + SECOND)])
        assert not (await case.store.due_schedules(10)).rows
        later = await case.store.due_schedules(10, now=case.now + SECOND)
        assert [row.name for row in later.rows] == ["a"]

    @scenario
    async def test_it_names_one_worker_for_all(self, case: Case) -> None:
        """Who asks learns how many workers there are, and of one that all learn of."""
        found = await case.store.due_schedules(1)
        assert (found.workers, found.first) == (0, "")
        hands = [await case.worker(name) for name in ("w2", "w1", "w3")]
        found = await case.store.due_schedules(1)
        assert (found.workers, found.first) == (3, "w1")
        await case.store.leave(hands[1].name)
        found = await (await case.other()).due_schedules(1)
        assert (found.workers, found.first) == (2, "w2")


class TestSchedulesRead:
    """`schedules` and `schedules_page`."""

    @scenario
    async def test_by_name(self, case: Case) -> None:
        """They come in the order that was asked for, with nothing for a name that is none."""
        await case.store.fire([made("a", 5, b"A"), made("b", None, b"\x00\xff")])
        [b, none, a] = await case.store.schedules(["b", "c", "a"])
        assert none is None
        assert b is not None
        assert (b.name, b.due, b.body, b.revision) == ("b", None, b"\x00\xff", 1)
        assert a is not None
        assert (a.name, a.due, a.body) == ("a", 5, b"A")
        assert await case.store.schedules([]) == []

    @scenario
    async def test_page_by_page(self, case: Case) -> None:
        """Pages go by the bytes of the names, and meet each schedule once."""
        names = ["B", "a", "a b", "é", "zz", "z", "\N{GRINNING FACE}", "ü"]
        await case.store.fire([made(name) for name in names])
        found: list[str] = []
        after = ""
        while page := await case.store.schedules_page(after, 3):
            found += [row.name for row in page]
            after = found[-1]
        assert found == sorted(names, key=str.encode)

    @scenario
    async def test_namespaces_do_not_meet(self, case: Case) -> None:
        """A schedule of one namespace is not there for another."""
        beside = await case.open("beside")
        await case.store.fire([made("a", case.now)])
        assert await beside.schedules(["a"]) == [None]
        assert not (await beside.due_schedules(10)).rows
        assert await beside.fire([made("a")]) == [True]
