"""What a cron expression may say, and what is said of one that cannot be read."""

import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.when.expressions import FIELDS, Field, expression, fits
from treadle.core.errors import BadTrigger, ScheduleError
from treadle.core.when.cron import Cron
from treadle.core.when.parse import NICKNAMES, parse

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "why", "caret"),
    [
        ("31 2 * *", "has 4 fields, and five are needed", (8, 1)),
        ("0 0 31 2 *", "never due: February has no day 31", (4, 2)),
        ("0 0 31 4,jun *", "never due: April, June have no day 31", (4, 2)),
        ("30-10 * * * *", "range is reversed: 30 comes after 10", (0, 5)),
        ("*/1000000000 * * * *", "step is larger than the whole field", (2, 10)),
        ("* * * * 1/0", "a step of 0 never moves on", (10, 1)),
        ("* * 1,,2 * *", "an item of the day of month list is missing", (6, 1)),
        ("0 24 * * *", "24 is no hour, 0 to 23", (2, 2)),
        ("0 0 * * monday", "'monday' is no day of week: it takes 0 to 7 or a name (sun", (8, 6)),
        ("0 0 0 * *", "0 is no day of month, 1 to 31", (4, 1)),
        ("0 0 L * *", "'L' is no day of month", (4, 1)),
        ("1-2-3 * * * *", "'2-3' is no minute", (2, 3)),
        ("1/x * * * *", "the step after / is a number", (2, 1)),
        ("0 H(1-99) * * *", "99 is no hour", (6, 2)),
        ("0 H(1 * * *", "after H comes nothing, /step or a range", (3, 2)),
        ("0 \u0663 * * *", "is no hour", (2, 1)),
        ("* * * * * * *", "has 7 fields", (12, 1)),
        ("", "has 0 fields", (0, 1)),
        ("@reboot", "is no time", (0, 7)),
        ("@fortnightly", "there are @yearly", (0, 12)),
    ],
)
def test_a_fault_is_shown(text: str, why: str, caret: tuple[int, int]) -> None:
    """The error says why, shows the expression, and has carets under the fault."""
    with pytest.raises(BadTrigger, match="cron expression: ") as caught:
        Cron(text)
    said, shown, carets = str(caught.value).split("\n")
    assert why in said
    assert shown == f"    {text}"
    assert carets == " " * (4 + caret[0]) + "^" * caret[1]
    assert isinstance(caught.value, ScheduleError)
    assert isinstance(caught.value, ValueError)


def test_a_fault_in_a_long_text_is_shown_in_part() -> None:
    """The lines stay short, and the carets stand below the fault."""
    text = ",".join(["1"] * 200) + ",61," + ",".join(["1"] * 200) + " * * * *"
    with pytest.raises(BadTrigger) as caught:
        Cron(text)
    _, shown, carets = str(caught.value).split("\n")
    assert len(shown) < 100
    assert shown[carets.index("^") :].startswith("61,")


def test_control_characters_do_not_reach_a_log() -> None:
    """What would end a line or move a cursor is shown as a sign that stands for it."""
    with pytest.raises(BadTrigger) as caught:
        Cron("0\n\x1b[31m * * * *")
    assert str(caught.value).count("\n") == 2
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("text", ["31 2 * *", "0 0 31 2 *", "9-1 * * * *", "*/1000000000 * * * *"])
def test_faults_are_found_at_once(text: str) -> None:
    """In less than a millisecond: the best of a hundred, as the machine may be busy."""
    assert quickest(text, 100) < 0.001


def quickest(text: str, times: int) -> float:
    """Give the least seconds that one of so many refusals took."""
    best = 1.0
    for _ in range(times):
        begun = time.perf_counter()
        try:
            Cron(text)
        except BadTrigger:
            best = min(best, time.perf_counter() - begun)
    return best


AGAIN = 10
ODD = [
    *(",".join(["*/7"] * 240) + tail for tail in (" * * * *", "")),
    *("*" * 1_000, "9" * 1_000, "," * 1_000, "/" * 1_000, "-" * 1_000, "H(" * 500, " " * 1_000),
    *("1-" * 400 + " * * * *", "0 0 29 2 " + ",".join(["*/7"] * 200), "@" * 1_000, "x" * 100_000),
]


def seconds(text: str) -> tuple[float, float]:
    """Give the processor time that parsing takes, and that of finding what is next."""
    begun = time.process_time()
    try:
        cron = Cron(text, tz="Europe/Paris", name="a")
    except BadTrigger:
        return time.process_time() - begun, 0.0
    parsed = time.process_time()
    cron.next(NEW_YEAR)
    return parsed - begun, time.process_time() - parsed


@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
def test_hostile_texts_are_quick(text: str) -> None:
    """Any text is read or refused within 10 ms, and what is next is found within 100 ms."""
    best = [min(column) for column in zip(*(seconds(text) for _ in range(AGAIN)), strict=True)]
    assert best[0] < 0.010
    assert best[1] < 0.100


CHARS = st.text("0123456789*/-,HhLW# @?()abcdefjmnostuvwyr\t\n\u0663", max_size=1_000)


@settings(max_examples=200)
@given(st.one_of(CHARS, st.text(max_size=1_000), FIELDS.map(expression)))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever is typed, the answer is a trigger that is due some day, or one kind of error."""
    parse_s, next_s = seconds(text)
    for _ in range(AGAIN):
        if parse_s < 0.010 and next_s < 0.100:
            break
        # The machine may have been busy, or garbage was collected: look again.
        parse_s, next_s = map(min, zip((parse_s, next_s), seconds(text), strict=True))
    assert parse_s < 0.010
    assert next_s < 0.100


@given(FIELDS, st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)))  # noqa: DTZ001
def test_what_matches_is_what_the_fields_say(fields: tuple[Field, ...], local: datetime) -> None:
    """An instant matches exactly when each of its numbers is among those of its field."""
    try:
        cron = Cron(expression(fields))
    except BadTrigger:
        return
    minute = local.replace(second=0, microsecond=0, tzinfo=UTC)
    assert cron.matches(minute) is fits(fields, minute)


def test_nicknames_stand_for_expressions() -> None:
    """`@daily` and its friends, in any case."""
    for nickname, text in NICKNAMES.items():
        assert parse(nickname) == parse(text) == parse(nickname.upper())


def test_names_are_numbers() -> None:
    """Months and weekdays by their first three letters, in any case, also in ranges and lists."""
    assert parse("0 0 * JAN,mar-May Mon-fri,SUN") == parse("0 0 * 1,3-5 0-5")
    assert parse("0 0 * * sun-tue") == parse("0 0 * * 7,1,2")
    assert parse("0 0 * * 5-7") == parse("0 0 * * fri-sun")


def test_days_are_anded_when_a_field_begins_with_a_star() -> None:
    """`1-7 * mon`: either; `*/2 * mon`, which begins with a star: both."""
    either = Cron("0 0 1-7 * mon").next(NEW_YEAR, 9)
    assert [at.day for at in either] == [2, 3, 4, 5, 6, 7, 12, 19, 26]
    both = Cron("0 0 */2 * mon").next(NEW_YEAR, 4)
    assert [(at.day, f"{at:%a}") for at in both] == [
        (5, "Mon"),
        (19, "Mon"),
        (9, "Mon"),
        (23, "Mon"),
    ]


def test_a_sixth_field_in_front_is_the_second() -> None:
    """Every ten seconds of one minute."""
    found = Cron("5-59/20 30 8 * * *").next(NEW_YEAR, 3)
    assert [f"{at:%H:%M:%S}" for at in found] == ["08:30:05", "08:30:25", "08:30:45"]


def test_leap_days_are_found_over_a_century_without_one() -> None:
    """1900 and 2100 have no 29 February; a Sunday among them may be 40 years away."""
    found = Cron("0 0 29 2 */7").next(datetime(2088, 3, 1, tzinfo=UTC))
    assert found == [datetime(2128, 2, 29, tzinfo=UTC)]


def test_the_end_of_the_calendar() -> None:
    """After year 9998 nothing is due: the list is short, and nobody loops."""
    late = datetime(9998, 12, 30, 12, tzinfo=UTC)
    assert Cron("@daily").next(late, 5) == [datetime(9998, 12, 31, tzinfo=UTC)]
    assert Cron("0 0 29 2 *").next(late) == []


def test_hashed_fields_are_spread_and_stable() -> None:
    """A name has one minute, on every machine and day; a thousand names have nearly all."""
    first = Cron("H H * * *", name="nightly report").next(NEW_YEAR, 2)
    assert [f"{at:%d %H:%M}" for at in first] == ["01 04:04", "02 04:04"]
    minutes = [Cron("H * * * *", name=f"job {n}").next(NEW_YEAR)[0].minute for n in range(1_000)]
    counts = [minutes.count(minute) for minute in range(60)]
    assert min(counts) > 4
    assert max(counts) < 40


@given(st.text(min_size=1, max_size=20))
def test_hashed_ranges_and_steps(name: str) -> None:
    """`H(10-20)` stays inside, `H/15` has four minutes 15 apart, a hashed day is in each month."""
    inside = Cron("H(10-20) * * * *", name=name).next(NEW_YEAR, 3)
    assert all(10 <= at.minute <= 20 for at in inside)
    four = [at.minute for at in Cron("H/15 * * * *", name=name).next(NEW_YEAR, 4)]
    assert {b - a for a, b in pairwise(four)} <= {15, -45}
    assert len(set(four)) == 4
    monthly = Cron("0 0 H * *", name=name).next(NEW_YEAR, 12)
    assert [at.month for at in monthly[-11:]] in ([*range(2, 13)], [*range(3, 13), 1])


def test_a_hash_needs_a_name() -> None:
    """Outside a schedule there is nothing to spread by, and the error says what to give."""
    with pytest.raises(BadTrigger, match="name='nightly'"):
        Cron("H 3 * * *").next(NEW_YEAR)
    named = Cron("H 3 * * *").for_name("a")
    assert named.next(NEW_YEAR) == Cron("H 3 * * *", name="a").next(NEW_YEAR)


def test_what_is_due_is_never_now() -> None:
    """`next` gives what comes after an instant, which is not the instant itself."""
    assert Cron("@hourly").next(NEW_YEAR) == [NEW_YEAR + timedelta(hours=1)]
    assert Cron("@hourly").next(NEW_YEAR - timedelta(microseconds=1)) == [NEW_YEAR]
