"""Options: what a call that takes them by name says of one that it does not have."""

from __future__ import annotations

from collections.abc import Collection, Iterable


def refuse_unknown(said: Iterable[str], known: Collection[str], refusal: str, offer: str) -> None:
    """Refuse names that are not known.

    Args:
        said: what the caller wrote.
        known: what there is, in the order in which it is told; a look-up must be cheap.
        refusal: what stands before the unknown ones, as `app.task has no option`.
        offer: what stands before those that there are, as `it takes`.

    Raises:
        TypeError: names the unknown ones and those there are.
    """
    unknown = sorted(name for name in said if name not in known)
    if unknown:
        raise TypeError(f"{refusal} {', '.join(map(repr, unknown))}; {offer} {', '.join(known)}")
