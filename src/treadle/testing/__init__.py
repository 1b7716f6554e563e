"""treadle.testing: what the tests of an application need.

`with app.testing() as kit:` puts an application under test (`treadle.under_test`): a memory
store, a moved clock, `app.drain()` and `enqueued(task)`. The other files: `drain` runs the
jobs with the real worker, `plugin` has the fixtures for pytest, `faults` and `ledger` are for
crash tests with real processes, and `conformance` is for makers of stores.
"""

from treadle.testing.drain import drain as _drain
from treadle.under_test import Kit, enqueued

__all__ = ["Kit", "enqueued"]

# The application's layer cannot import the worker that runs its jobs, so it is told of it here.
Kit.run_with(_drain)
