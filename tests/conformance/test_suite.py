"""The suite is whole: a test class that nobody imports tests nothing."""

import importlib
import pkgutil

from treadle.testing import conformance
from treadle.testing.conformance import suite


def test_the_suite_names_every_test_class() -> None:
    """Each class of each module is in the suite, under its own name."""
    modules = [
        importlib.import_module(found.name)
        for found in pkgutil.walk_packages(conformance.__path__, f"{conformance.__name__}.")
    ]
    classes = {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if name.startswith("Test") and value.__module__ == module.__name__
    }
    defined = [
        name
        for module in modules
        for name, value in vars(module).items()
        if name.startswith("Test") and value.__module__ == module.__name__
    ]
    assert sorted(defined) == sorted(classes), "two classes have one name"
    assert {name: getattr(suite, name, None) for name in classes} == classes
    assert set(suite.__all__) == {*classes, "case"}
