"""Settings: gathered from what was really said, refused with every problem at once."""

from __future__ import annotations

import pytest

from treadle.core.decide import Rules
from treadle.core.errors import SettingsError
from treadle.core.settings import Settings, load_settings


def test_nothing_said_gives_the_defaults() -> None:
    """Defaults live in the record alone."""
    assert load_settings({}, {}) == Settings()
    assert Settings().rules() == Rules()


def test_code_wins_over_the_environment() -> None:
    """The environment is the weaker voice."""
    environ = {"TREADLE_STORE": "memory://", "TREADLE_GRACE": "5", "OTHER": "x"}
    settings = load_settings({"grace": 7}, environ)
    assert (settings.store, settings.grace) == ("memory://", 7)


def test_an_unset_variable_shadows_nothing() -> None:
    """Only what is set in the environment counts."""
    assert load_settings({"concurrency": 3}, {"TREADLE_GRACE": "1"}).concurrency == 3


def test_all_problems_are_reported_together() -> None:
    """One start shows every mistake."""
    environ = {"TREADLE_CONCURRENCY": "many", "TREADLE_LEASE": "0"}
    with pytest.raises(SettingsError) as caught:
        load_settings({"grace": -1, "nonsense": 1, "attempts": 2.5, "namespace": "A b"}, environ)
    text = " ".join(caught.value.problems)
    assert len(caught.value.problems) == 6
    for word in ("TREADLE_CONCURRENCY", "lease", "grace", "nonsense", "attempts", "namespace"):
        assert word in text


def test_settings_must_fit_together() -> None:
    """A beat must be well inside its lease."""
    with pytest.raises(SettingsError, match="a third of lease"):
        load_settings({"lease": 2, "beat": 1}, {})


def test_what_does_not_fit_together_is_reported_with_the_rest() -> None:
    """A pair that clashes and a value out of range are shown by the same start."""
    with pytest.raises(SettingsError) as caught:
        load_settings({"lease": 2, "beat": 1, "grace": -1}, {})
    assert len(caught.value.problems) == 2
