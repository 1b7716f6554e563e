"""I-09, a script every hour: never two at once, tried again when it fails, its runs on record."""

import subprocess
import sys

from treadle import Cron, Retry, Treadle

app = Treadle("sqlite:///jobs.db")


@app.schedule(Cron("@hourly"), overlap="skip", args=("print('done')",))
@app.task(retry=Retry(attempts=3, base=60), timeout=50 * 60)
def run_script(script: str) -> str:
    """Run a program; a code other than 0 is an error, and what it printed is the result."""
    words = [sys.executable, "-c", script]
    done = subprocess.run(words, check=True, capture_output=True, text=True)  # noqa: S603 -- ours
    return done.stdout
