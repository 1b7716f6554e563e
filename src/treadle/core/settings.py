"""Settings: one frozen record, gathered sparsely, merged, built once.

Sources from weak to strong: environment (`TREADLE_*`), then what the code says. Each
source yields only what it really sets and defaults live in `Settings` alone, so that an
unset variable can never shadow a value. This is the only module that reads the
environment. All problems are reported together.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, cast

from treadle.core.decide import Rules
from treadle.core.durations import DAY, Duration, to_us
from treadle.core.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "TREADLE_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting of an application. Durations are seconds (int or float).

    The environment variable of a field is `TREADLE_` and its name in capitals.
    """

    store: str = "sqlite:///treadle.db"
    """URL of the store: memory:// or sqlite:///path."""
    namespace: str = "default"
    """Applications of different namespaces share a store without seeing each other."""
    outbox: str = ""
    """URL of your own database when the store lies elsewhere: `using(connection=...)` then writes
    jobs into its table `treadle_outbox`, and `treadle relay` hands them to the store."""
    outbox_poll: float = 1.0
    """The longest rest of `treadle relay` between two looks into an empty outbox."""
    concurrency: int = 16
    """Slots of a worker: how many jobs it runs at once."""
    grace: float = 30.0
    """How long a stopping worker lets running jobs go on."""
    lease: float = 15.0
    """How long a worker that does not beat keeps its claims."""
    suspect_after: float = 5.0
    """How long a worker whose lease has ended is watched before it is rescued."""
    beat: float = 1.0
    """Time between two beats; also the longest time until a cancel reaches a running job."""
    poll: float = 5.0
    """How long an idle worker waits for a wake-up before it looks by itself."""
    timeout: float = 1800.0
    """Hard time limit of a task that names none."""
    attempts: int = 5
    """Attempts of a job whose task is not known where it is enqueued."""
    max_crashes: int = 3
    """How many workers a job may take down before it is a dead letter (`poison`)."""
    stuck_max: int = 4
    """Threads that ignore their time limit before the worker drains and exits."""
    payload_max: int = 262_144
    """Largest arguments of a job, in bytes of JSON."""
    result_max: int = 262_144
    """Largest result of a job, in bytes of JSON."""
    keep_succeeded: float = 86_400.0
    """How long succeeded jobs are kept (never less than an hour after they were made)."""
    keep_failed: float = 30 * 86_400.0
    """How long dead letters, cancelled and expired jobs are kept."""
    unknown_task_delay: float = 30.0
    """How long a job rests that no worker here knows the task of."""
    unknown_task_max: float = 86_400.0
    """After how long such a job becomes a dead letter."""
    store_timeout: float = 10.0
    """How long one call waits for a locked or absent store before it is an error."""
    transaction_timeout: float = 5.0
    """How long a task may keep other writers out of a SQLite store by `ctx.transaction()`."""
    block_warn: float = 0.5
    """How long an event loop stands still before it is reported, at most 0.4 s later."""

    def rules(self) -> Rules:
        """Reduce these settings to what `decide` needs."""
        return Rules(
            attempts_max=self.attempts,
            max_crashes=self.max_crashes,
            keep_succeeded=to_us(self.keep_succeeded, "keep_succeeded"),
            keep_failed=to_us(self.keep_failed, "keep_failed"),
            unknown_delay=to_us(self.unknown_task_delay, "unknown_task_delay"),
            unknown_max=to_us(self.unknown_task_max, "unknown_task_max"),
        )


_FIELDS = {f.name: f for f in fields(Settings)}
_DEFAULTS = Settings()
_RANGES: dict[str, tuple[float, float]] = {
    "concurrency": (1, 2_000),
    "attempts": (1, 1_000),
    "max_crashes": (1, 100),
    "stuck_max": (0, 1_000),
    "payload_max": (64, 64 * 1024 * 1024),
    "result_max": (64, 64 * 1024 * 1024),
    "lease": (1, 3_600),
    "suspect_after": (0.1, 600),
    "beat": (0.05, 600),
    "poll": (0.05, 600),
    "grace": (0, DAY),
    "timeout": (0.001, 36_525 * 86_400),
    "store_timeout": (0.05, 3_600),
    "transaction_timeout": (0.01, 600),
    "block_warn": (0.05, 3_600),
    "outbox_poll": (0.01, 600),
}
_NAMESPACE_MAX = 41


def load_settings(said: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> Settings:
    """Build the settings from what the environment and then the code really said.

    Args:
        said: settings by field name, from code; they win.
        environ: the environment; None reads the process's own.

    Raises:
        SettingsError: one or more values are wrong or unknown; it names all of them.
    """
    problems: list[str] = []
    merged = _from_environ(os.environ if environ is None else environ, problems)
    for name, value in said.items():
        if name not in _FIELDS:
            problems.append(f"there is no setting {name!r}; there are {', '.join(_FIELDS)}")
            continue
        merged[name] = value
    values: dict[str, Any] = {
        name: _checked(name, value, problems) for name, value in merged.items()
    }
    if not any(name in problem for problem in problems for name in ("beat", "lease")):
        _check_together(values, problems)
    if problems:
        raise SettingsError(problems)
    return Settings(**values)


def _from_environ(environ: Mapping[str, str], problems: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, field_ in _FIELDS.items():
        raw = environ.get(PREFIX + name.upper())
        if raw is None:
            continue
        kind = {"str": str, "int": int, "float": float}[str(field_.type)]
        try:
            found[name] = kind(raw)
        except ValueError:
            problems.append(f"{PREFIX}{name.upper()}={raw!r} is not {field_.type}")
    return found


def _checked(name: str, value: object, problems: list[str]) -> object:
    kind = str(_FIELDS[name].type)
    if kind == "str":
        return _checked_text(name, value, problems)
    try:
        number = _number(name, value, whole=kind == "int")
    except (TypeError, ValueError) as error:
        problems.append(str(error))
        return value
    low, high = _RANGES.get(name, (0, 36_525 * 86_400))
    if not low <= number <= high:
        problems.append(f"{name} must be between {low:g} and {high:g}, not {value!r}")
    return number


def _number(name: str, value: object, *, whole: bool) -> int | float:
    if not whole:
        return to_us(cast("Duration", value), name) / 1e6
    if isinstance(value, bool) or not isinstance(value, int):
        msg = f"{name} must be an int, not {value!r}"
        raise TypeError(msg)
    return value


def _checked_text(name: str, value: object, problems: list[str]) -> object:
    if not isinstance(value, str) or not (value or name == "outbox"):
        problems.append(f"{name} must be a non-empty str, not {value!r}")
    elif name == "namespace" and not (
        value.isidentifier() and value.isascii() and value.islower() and len(value) < _NAMESPACE_MAX
    ):
        problems.append(f"namespace must be 1 to 40 small letters, digits and '_', not {value!r}")
    return value


def _check_together(values: Mapping[str, Any], problems: list[str]) -> None:
    """Note settings that are sound each by itself but not together."""
    beat, lease = values.get("beat", _DEFAULTS.beat), values.get("lease", _DEFAULTS.lease)
    if beat * 3 > lease:
        problems.append(
            f"beat ({beat:g} s) must be at most a third of lease ({lease:g} s), "
            "or one late beat would cost a worker its claims"
        )
