"""The tests that every store passes, for treadle's own stores and for those of others.

A store's maker runs all of them with a test module of one line

    from treadle.testing.conformance.suite import *

and two fixtures beside it: `clock`, a `treadle.core.clock.MovedClock`, and `make_store`,
a callable that takes a namespace and returns a store (not yet opened) on the same jobs
each time, with the default `Settings` and reading that clock. `kit` says what the tests
stand on, `line`, `upkeep` and `control` hold one file a verb of `treadle.store.contract`.
"""

import pytest

# Without this a failed assertion in these modules would not show its values: pytest
# rewrites only the modules that it collects itself.
pytest.register_assert_rewrite(
    *(f"{__name__}.{part}" for part in ("kit", "line", "upkeep", "control"))
)
