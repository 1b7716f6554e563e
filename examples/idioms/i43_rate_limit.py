"""I-43, a rate limit: `rate_limit="10/m"`, which elsewhere holds for each worker by itself.

Here it holds for all workers together. What has to wait is parked in the store and takes no slot.
With `burst=1` one starts every six seconds, as there; without it ten may start at once.
"""

from treadle import RateLimit, Treadle

app = Treadle("sqlite:///jobs.db")


@app.task(limits=RateLimit("10/m", burst=1))
def call_api(item: int) -> int:
    """Call an API that allows ten calls a minute."""
    return item
