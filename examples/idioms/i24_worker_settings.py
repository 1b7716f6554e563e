"""I-24, async tasks with a context and settings of the worker, as arq has them.

`treadle worker i24_worker_settings:app`. Retries are on; the settings are checked at the start,
all of them, and each can be set from outside (`TREADLE_CONCURRENCY=20`).
"""

from treadle import Context, Treadle, context

app = Treadle(
    "sqlite:///jobs.db", settings={"concurrency": 10, "timeout": 300, "keep_succeeded": 3600}
)
rates: dict[str, float] = {}


@app.on_startup
async def load_rates() -> None:
    """Load once what all jobs of this worker share."""
    rates.update(EUR=1.0, USD=1.08)


@app.task
async def convert(euros: float, currency: str, ctx: Context = context()) -> float:  # noqa: B008
    """Convert euros."""
    ctx.log(f"attempt {ctx.attempt}: {euros} EUR in {currency}")
    return euros * rates[currency]
