"""The pytest plugin: an application under test for the length of one test.

    # pyproject.toml
    [tool.pytest.ini_options]
    treadle_app = "shop.jobs:app"

    def test_welcome(treadle_app):
        sign_up("ann@example.com")
        assert treadle_app.enqueued(send_welcome)[0].args == ("ann@example.com",)
        treadle_app.drain()

`treadle_testing` does the same for any application, without the setting. Both give a
`treadle.testing.Kit`. Nothing is imported from the application before a test asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pkgutil import resolve_name

import pytest

from treadle.app import Treadle
from treadle.under_test import Kit

_SETTING = "treadle_app"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Make the setting known to pytest."""
    parser.addini(_SETTING, "the application of the fixture treadle_app, as module:name", "string")


@pytest.fixture
def treadle_testing() -> Iterator[Callable[[Treadle], Kit]]:
    """Give a function that puts an application under test until the test has ended."""
    with ExitStack() as stack:
        yield lambda app: stack.enter_context(app.testing())


@pytest.fixture
def treadle_app(request: pytest.FixtureRequest, treadle_testing: Callable[[Treadle], Kit]) -> Kit:
    """Put the application that the setting `treadle_app` names under test."""
    return treadle_testing(_app_named(str(request.config.getini(_SETTING))))


def _app_named(where: str) -> Treadle:
    """Import the application.

    Raises:
        pytest.UsageError: the setting is missing, or does not lead to an application.
    """
    if not where:
        raise pytest.UsageError(
            f'the fixture treadle_app needs the setting {_SETTING} = "module:name" in the '
            "configuration of pytest; the fixture treadle_testing takes any application"
        )
    try:
        found = resolve_name(where)
    except (ImportError, AttributeError, ValueError) as error:
        raise pytest.UsageError(f"{_SETTING} = {where!r} cannot be imported: {error}") from error
    if not isinstance(found, Treadle):
        raise pytest.UsageError(f"{_SETTING} = {where!r} is {found!r}, no Treadle application")
    return found
