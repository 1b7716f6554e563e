"""Batches: what every store refuses of one, before anything of it is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from treadle.core.keys.key import check_key
from treadle.store.contract import BATCH_MAX

if TYPE_CHECKING:
    from treadle.core.job import NewJob


def check_size(jobs: Sequence[NewJob]) -> None:
    """Refuse a batch that is over the bound.

    Raises:
        ValueError: it holds more than BATCH_MAX jobs.
    """
    if len(jobs) > BATCH_MAX:
        msg = f"one batch takes at most {BATCH_MAX:,} jobs, not {len(jobs):,}; send several"
        raise ValueError(msg)


def check_batch(jobs: Sequence[NewJob]) -> bool:
    """Refuse a batch that no store can take; tell whether some of its jobs want keys.

    Raises:
        ValueError: it holds more than BATCH_MAX jobs, or a key that cannot be one.
    """
    check_size(jobs)
    keys = [job.key for job in jobs if job.key is not None]
    for key in keys:
        check_key(key)
    return bool(keys)
