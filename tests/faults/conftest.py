"""How long a fault test may take in all."""

from pathlib import Path
from typing import Final

import pytest

HERE: Final = Path(__file__).parent
WHOLE_S: Final = 150
"""Above the waits of a test together: each has a limit of its own, and says what it waited for."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests of this folder that name no time of their own the time of their waits."""
    for item in items:
        if HERE in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(WHOLE_S))
