"""treadle: background jobs for Python that start as one file and end as a fleet.

This file is the public surface: every name that users import stands in `__all__`.
It holds no logic; `docs/architecture.md` says which file answers which question.
"""

from treadle import testing as testing
from treadle._version import __version__
from treadle.app import Treadle
from treadle.client.gates.hold import Hold
from treadle.client.gates.limit import NamedLimit
from treadle.client.keys.lock import Lock
from treadle.context import Context, context, current
from treadle.core.errors import (
    BadArguments,
    BadTaskSignature,
    BadTrigger,
    DuplicateJob,
    DuplicateTask,
    JobCancelled,
    JobError,
    JobExpired,
    JobFailed,
    JobNotFound,
    LimitError,
    LimitLost,
    LimitTimeout,
    LockError,
    LockLost,
    LockTimeout,
    NotSerializable,
    PayloadError,
    PayloadTooLarge,
    ResultExpired,
    ResultTimeout,
    ScheduleError,
    SchemaMismatch,
    SettingsError,
    StoreDamaged,
    StoreError,
    StoreUnavailable,
    TaskError,
    TreadleError,
    UnknownLimit,
    UnknownTask,
)
from treadle.core.gates.breaker import Breaker
from treadle.core.gates.limits import Concurrency, RateLimit, Switch
from treadle.core.job import ErrorInfo, JobState
from treadle.core.keys.rules import Debounce, Throttle, Unique
from treadle.core.retry import Retry
from treadle.core.settings import Settings
from treadle.core.signals import Cancel, Reject, RetryLater, Snooze, SoftTimeout
from treadle.core.when.cron import Cron
from treadle.core.when.triggers import At, Every
from treadle.events import Event
from treadle.job import Job
from treadle.signature import Signature
from treadle.task import Task
from treadle.worker.worker import Worker

__all__ = [
    "At",
    "BadArguments",
    "BadTaskSignature",
    "BadTrigger",
    "Breaker",
    "Cancel",
    "Concurrency",
    "Context",
    "Cron",
    "Debounce",
    "DuplicateJob",
    "DuplicateTask",
    "ErrorInfo",
    "Event",
    "Every",
    "Hold",
    "Job",
    "JobCancelled",
    "JobError",
    "JobExpired",
    "JobFailed",
    "JobNotFound",
    "JobState",
    "LimitError",
    "LimitLost",
    "LimitTimeout",
    "Lock",
    "LockError",
    "LockLost",
    "LockTimeout",
    "NamedLimit",
    "NotSerializable",
    "PayloadError",
    "PayloadTooLarge",
    "RateLimit",
    "Reject",
    "ResultExpired",
    "ResultTimeout",
    "Retry",
    "RetryLater",
    "ScheduleError",
    "SchemaMismatch",
    "Settings",
    "SettingsError",
    "Signature",
    "Snooze",
    "SoftTimeout",
    "StoreDamaged",
    "StoreError",
    "StoreUnavailable",
    "Switch",
    "Task",
    "TaskError",
    "Throttle",
    "Treadle",
    "TreadleError",
    "Unique",
    "UnknownLimit",
    "UnknownTask",
    "Worker",
    "__version__",
    "context",
    "current",
]
