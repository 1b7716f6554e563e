#!/usr/bin/env python3
"""Write docs/guides/settings.md from the settings themselves.

The page has a row for each field of `Settings`, with what stands below the field in the code,
so there is one place to change. `tests/docs/test_settings_page.py` compares the page with what
this gives; after a change of the settings run `python tools/settings_reference.py`.
"""

import ast
import inspect
from dataclasses import fields
from pathlib import Path
from typing import Final

from treadle.core import settings

PAGE: Final = Path(__file__).parents[1] / "docs" / "guides" / "settings.md"

_HEAD: Final = """\
# Settings

<!-- Written by tools/settings_reference.py from src/treadle/core/settings.py. -->

Every setting has a default that is safe; most applications set the store and nothing else.

A setting is given in code or by an environment variable, and code wins:

```python run
from treadle import Treadle

app = Treadle("sqlite:///jobs.db", settings={"concurrency": 32, "keep_failed": 7 * 86_400})
print(app.settings.concurrency, app.settings.grace)
```

```output
32 30.0
```

```python title="show.py"
from treadle import Treadle

app = Treadle()
print(app.settings.store, app.settings.grace)
```

```console
$ TREADLE_STORE=sqlite:///other.db TREADLE_GRACE=5 python show.py
sqlite:///other.db 5.0
```

`TREADLE_APP` names the application for the command line, as `module:app`; it is no setting.

Durations are seconds; in code they may be a `timedelta`.
A wrong value is a `SettingsError` when the application is made, which names all problems at once:

```python run
from treadle import SettingsError, Treadle

try:
    Treadle(settings={"concurrency": 0, "graze": 5})
except SettingsError as error:
    for problem in error.problems:
        print(problem)
```

```output
there is no setting 'graze'; there are store, namespace, ...
concurrency must be between 1 and 2000, not 0
```

| Setting | Variable | Default | Meaning |
|---|---|---|---|
"""


def page() -> str:
    """Give the text that the page should have."""
    said = _docstrings()
    rows = [
        f"| `{field.name}` | `{settings.PREFIX}{field.name.upper()}` "
        f"| `{_shown(field.default)}` | {said[field.name]} |"
        for field in fields(settings.Settings)
    ]
    return _HEAD + "\n".join(rows) + "\n"


def _docstrings() -> dict[str, str]:
    """Read the text below each field; every one of them has some."""
    (record,) = ast.parse(inspect.getsource(settings.Settings)).body
    assert isinstance(record, ast.ClassDef)
    found = {}
    for field, below in zip(record.body, record.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            assert isinstance(below, ast.Expr), f"{field.target.id} has no text below it"
            assert isinstance(below.value, ast.Constant)
            found[field.target.id] = " ".join(str(below.value.value).split())
    return found


def _shown(default: object) -> str:
    """Write a default as a person would: 86400 rather than 86400.0."""
    if isinstance(default, float | int):
        return f"{default:,.10g}".replace(",", "_")
    return str(default)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
