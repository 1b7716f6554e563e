"""treadle: background jobs for Python that start as one file and end as a fleet.

This file is the public surface: every name that users import stands in `__all__`.
It holds no logic; `docs/architecture.md` says which file answers which question.
"""

from treadle._version import __version__

__all__ = ["__version__"]
