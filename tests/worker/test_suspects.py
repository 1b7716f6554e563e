"""Suspects: which of them run among themselves, and which alone."""

import pytest

from treadle.core.ids import new_id
from treadle.core.job import Claim
from treadle.worker.claims.suspects import Suspects


def claim(crashes: int) -> Claim:
    """Make a claim with so many crashes behind it."""
    return Claim(new_id(), 1, "app.work", "default", 0, 1, b"[]", crashes=crashes)


@pytest.mark.parametrize(
    ("crashes", "crashes_max", "all_kept", "alone"),
    [
        pytest.param(1, 3, False, False, id="it may only have waited in a buffer"),
        pytest.param(2, 3, False, True, id="it was marked in a crash"),
        pytest.param(2, 9, False, True, id="however many more would bury it"),
        pytest.param(1, 2, False, True, id="one more would bury it"),
        pytest.param(1, 3, True, True, id="it had begun"),
    ],
)
def test_who_runs_alone(*, crashes: int, crashes_max: int, all_kept: bool, alone: bool) -> None:
    """Only a first crash without a mark that was kept leaves a suspect in company."""
    suspects = Suspects(crashes_max, all_kept=all_kept)
    first, second = claim(1), claim(crashes)
    assert suspects.is_alone(second) is alone
    assert suspects.admit(first, quiet=True)
    suspects.started(first)
    assert suspects.admit(second, quiet=False) == (not alone)
    assert not suspects.admit(claim(0), quiet=True)
