"""I-49, schedules made at run time that outlive the process, one at a time, put in place anew.

What is missed is run once (`misfire="one"`), when it is at most 300 seconds late (`grace`), and
never beside itself (`overlap="skip"`).
"""

from treadle import Every, Treadle

app = Treadle("sqlite:///jobs.db")


@app.task(name="import_feed")
def import_feed(url: str) -> None:
    """Read a feed."""


def plan(url: str, seconds: int) -> None:
    """Import a feed so often from now on; a plan of before is replaced."""
    app.schedules.add(
        Every(seconds),
        import_feed,
        name=f"import {url}",
        args=(url,),
        misfire="one",
        grace=300,
        overlap="skip",
        replace=True,
    )
