"""Our cron beside cronsim and croniter: the same answers, and each class of others explained.

What the three agree on is compared by chance; each way in which one of them differs is shown
by an example with the reason why ours is as it is.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from croniter import croniter
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.when.expressions import CHANGES, EARLY, FIELDS, SINCE, Field, expression
from treadle.core.errors import BadTrigger
from treadle.core.when.cron import Cron

Reader = Callable[..., list[datetime]]
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def ours(text: str, after: datetime, zone: str = "UTC", count: int = 5) -> list[datetime]:
    """Ask ours what is due next, in UTC."""
    return [at.astimezone(UTC) for at in Cron(text, tz=zone).next(after, count)]


def cronsims(text: str, after: datetime, zone: str = "UTC", count: int = 5) -> list[datetime]:
    """Ask cronsim what is due next, in UTC."""
    each = CronSim(text, after.astimezone(ZoneInfo(zone)))
    return [next(each).astimezone(UTC) for _ in range(count)]


def croniters(text: str, after: datetime, zone: str = "UTC", count: int = 5) -> list[datetime]:
    """Ask croniter what is due next, in UTC."""
    # `implement_cron_bug` is its name for Vixie's rule of the two day fields.
    each = croniter(
        text, after.astimezone(ZoneInfo(zone)), ret_type=datetime, implement_cron_bug=True
    )
    return [each.get_next(datetime).astimezone(UTC) for _ in range(count)]


@settings(max_examples=200)
@given(FIELDS, st.integers(0, 15 * 365 * 24 * 60))
def test_dates_are_those_of_both(fields: tuple[Field, ...], minutes: int) -> None:
    """Without clock changes all three give the same instants, or all refuse the expression."""
    text, after = expression(fields), SINCE + timedelta(minutes=minutes)
    try:
        found = ours(text, after, count=3)
    except BadTrigger:
        assert refused(cronsims, text, after)
        assert refused(croniters, text, after)
        return
    assert found == cronsims(text, after, count=3)
    # croniter gives up after 50 years; only a Feb 29 with a weekday can be that far away.
    if found[-1].year - after.year < 40 and not late_star(fields):
        assert found == croniters(text, after, count=3)


def late_star(fields: tuple[Field, ...]) -> bool:
    """Tell whether a list in a day field holds a star, but not in front."""
    return any("*" in each.text and not each.text.startswith("*") for each in fields[2::2])


def refused(read: Reader, text: str, after: datetime) -> bool:
    """Tell whether another library finds no instant at all."""
    try:
        read(text, after)
    except Exception:  # noqa: BLE001 -- whatever it refuses by
        return True
    return False


@settings(max_examples=200)
@given(st.sampled_from(CHANGES), EARLY, st.integers(0, 24 * 60))
def test_clock_changes_are_cronsims(
    change: tuple[str, datetime], fields: tuple[Field, ...], minutes: int
) -> None:
    """Around the changes of nine zones we and cronsim, which follows Debian's cron, agree."""
    name, day = change
    text, after = expression(fields), day + timedelta(minutes=minutes)
    # Asked during the second pass of an hour, cronsim begins with what was due in the first,
    # which may be once a minute.
    theirs = cronsims(text, after, name, 64)
    assert ours(text, after, name, 4) == [at for at in theirs if at > after][:4]


def test_a_range_of_one_number() -> None:
    """`5-5` is 5: croniter reads it as every minute, and cronsim does so when a step follows."""
    assert [at.minute for at in ours("5-5 * * * *", NOON)] == [5] * 5
    assert [at.minute for at in cronsims("5-5 * * * *", NOON)] == [5] * 5
    assert [at.minute for at in croniters("5-5 * * * *", NOON)] == [1, 2, 3, 4, 5]
    assert [at.minute for at in ours("5-5/10 * * * *", NOON)] == [5] * 5
    assert [at.minute for at in cronsims("5-5/10 * * * *", NOON)] == [5, 15, 25, 35, 45]


def test_a_star_in_a_list() -> None:
    """`1,*/2` begins with no star, so by Vixie either day is enough; croniter asks for both."""
    begin = datetime(2026, 1, 1, 12, tzinfo=UTC)
    text = "0 0 1,*/2 * 0-6"
    assert ours(text, begin) == cronsims(text, begin)
    assert [at.day for at in ours(text, begin, count=3)] == [2, 3, 4]
    assert [at.day for at in croniters(text, begin, count=3)] == [3, 5, 7]


def test_a_step_from_a_weekday() -> None:
    """`3/2` counts to the end of the field, which is 7, so Sunday is in it; croniter ends at 6."""
    assert [f"{at:%a}" for at in ours("0 0 * * 3/2", NOON, count=3)] == ["Wed", "Fri", "Sun"]
    assert ours("0 0 * * 3/2", NOON) == cronsims("0 0 * * 3/2", NOON)
    assert [f"{at:%a}" for at in croniters("0 0 * * 3/2", NOON, count=3)] == ["Wed", "Fri", "Wed"]


def test_a_range_that_ends_on_sunday() -> None:
    """`fri-sun` can only mean one thing; cronsim takes Sunday for 0 and refuses it."""
    assert [f"{at:%a}" for at in ours("0 0 * * fri-sun", NOON, count=3)] == ["Fri", "Sat", "Sun"]
    assert refused(cronsims, "0 0 * * fri-sun", NOON)


def test_reversed_ranges() -> None:
    """`22-2` is refused with the way to write it; croniter lets it run over midnight."""
    assert refused(ours, "0 22-2 * * *", NOON)
    assert refused(cronsims, "0 22-2 * * *", NOON)
    assert [at.hour for at in croniters("0 22-2 * * *", NOON)] == [22, 23, 0, 1, 2]
    assert [at.hour for at in ours("0 22-23,0-2 * * *", NOON)] == [22, 23, 0, 1, 2]


def test_steps_larger_than_the_field() -> None:
    """`*/90` is refused, for it is no 90 minutes; cronsim takes it for minute 0 of each hour."""
    assert refused(ours, "*/90 * * * *", NOON)
    assert [at.minute for at in cronsims("*/90 * * * *", NOON)] == [0] * 5


def test_a_fixed_time_of_a_repeated_hour() -> None:
    """Vixie: once, the first time. croniter gives both."""
    eve = datetime(2026, 10, 24, 12, tzinfo=UTC)
    first, second = (datetime(2026, 10, 25, hour, 30, tzinfo=UTC) for hour in (0, 1))
    assert ours("30 2 * * *", eve, "Europe/Paris")[0] == first
    assert second not in ours("30 2 * * *", eve, "Europe/Paris")
    assert croniters("30 2 * * *", eve, "Europe/Paris")[:2] == [first, second]


def test_a_wildcard_in_a_gap() -> None:
    """Vixie: not on the wall, not due. croniter moves it behind the gap."""
    eve = datetime(2019, 3, 30, 12, tzinfo=UTC)
    gap_ends = datetime(2019, 3, 30, 22, tzinfo=UTC)
    assert gap_ends not in ours("*/52 0 * * *", eve, "Asia/Beirut")
    assert gap_ends in croniters("*/52 0 * * *", eve, "Asia/Beirut")


def test_seconds_and_clock_changes() -> None:
    """With seconds a fixed time is as fixed as without; cronsim leaves six fields to the wall."""
    eve = datetime(2026, 3, 28, 12, tzinfo=UTC)
    gap_ends = datetime(2026, 3, 29, 1, tzinfo=UTC)
    assert ours("0 30 2 * * *", eve, "Europe/Paris")[0] == gap_ends
    assert cronsims("0 30 2 * * *", eve, "Europe/Paris")[0] > gap_ends


def test_half_an_hour_in_lord_howe() -> None:
    """45 minutes past each hour on the wall; cronsim steps over the first after a change."""
    autumn, spring = (
        datetime(2026, month, day, 12, tzinfo=UTC) for month, day in ((4, 4), (10, 3))
    )
    assert lord_howe(ours, autumn) == ["23:45+11", "00:45+11", "01:45+11", "01:45+1030"]
    assert lord_howe(cronsims, autumn) == ["23:45+11", "00:45+11", "01:45+11", "02:45+1030"]
    assert lord_howe(ours, spring)[3:] == ["01:45+1030", "02:45+11"]
    assert lord_howe(cronsims, spring)[3:] == ["01:45+1030", "03:45+11"]


def lord_howe(read: Reader, after: datetime) -> list[str]:
    """Give four or five times on the wall there, with the offset."""
    zone = ZoneInfo("Australia/Lord_Howe")
    found = read("45 * * * *", after, zone.key, 4 if after.month == 4 else 5)
    return [f"{at.astimezone(zone):%H:%M%z}".removesuffix("00") for at in found]


def test_an_expression_that_cronsim_never_answers() -> None:
    """`30 */3` in St. John's of 2010, where clocks changed a minute after midnight."""
    after = datetime(2010, 11, 6, 12, tzinfo=UTC)
    found = Cron("30 */3 * * *", tz="America/St_Johns").next(after, 8)
    assert [f"{at:%d %H:%M}" for at in found][4:] == [
        "07 00:30",
        "07 03:30",
        "07 06:30",
        "07 09:30",
    ]
