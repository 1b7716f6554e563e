"""The selection: which systems and measures a run keeps to when it is told `--only`."""

from __future__ import annotations

from collections.abc import Sequence

from bench.catalogue import MEASURES


class Selection:
    """What `--only` names: measures by their name, systems by how their name starts.

    Naming no measure means all of them, and naming no system means all systems, so
    `--only latency` asks everybody and `--only huey` asks Huey everything.
    """

    def __init__(self, names: Sequence[str]) -> None:
        """Sort `names` into measures and systems."""
        known = {measure.name for measure in MEASURES}
        self._measures = {name for name in names if name in known}
        self._systems = tuple(name for name in names if name not in known)

    def has_measure(self, name: str) -> bool:
        """Say whether this measure is to be taken."""
        return not self._measures or name in self._measures

    def has_system(self, name: str) -> bool:
        """Say whether this system, such as `huey:default` or `probe:fsync`, is to be asked."""
        return not self._systems or name.startswith(self._systems)

    def has_module(self, module: str) -> bool:
        """Say whether any system of this peer file may be asked."""
        peer = module.partition("_")[0]
        return not self._systems or any(name.startswith(peer) for name in self._systems)
