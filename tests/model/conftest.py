"""Let a failed comparison of the model show both sides."""

import pytest

pytest.register_assert_rewrite("tests.model.lockstep")
