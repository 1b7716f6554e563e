"""I-31, a soft limit of 50 minutes and a hard one of an hour.

The hard limit ends the attempt, and the job is tried again by its policy.
"""

import time

from treadle import SoftTimeout, Treadle

app = Treadle("sqlite:///jobs.db")


@app.task(soft_timeout=50 * 60, timeout=60 * 60)
def render(pages: int) -> int:
    """Render pages; return how many there was time for."""
    done = 0
    try:
        while done < pages:
            time.sleep(0.01)
            done += 1
    except SoftTimeout:
        print(f"out of time after {done} of {pages} pages")
    return done
