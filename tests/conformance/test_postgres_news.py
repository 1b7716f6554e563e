"""News on PostgreSQL that hang: what is committed is answered as committed."""

import time
from collections.abc import Iterator

import psycopg
import pytest

from treadle import JobState, Settings, Treadle
from treadle.store.postgres.store import PostgresStore

PATIENCE_S = 12.0


@pytest.fixture
def app(postgres_schema: str) -> Iterator[Treadle]:
    """Give an application with tables of its own and more patience than news get."""
    settings = Settings(store_timeout=PATIENCE_S)
    store = PostgresStore(postgres_schema, "default", settings)
    store.migrate_now()
    store.close_now()
    app = Treadle(postgres_schema, settings=settings)

    @app.task(name="touch")
    def touch() -> None: ...

    yield app
    app.close()


@pytest.mark.parametrize("many", [False, True])
def test_a_committed_enqueue_whose_news_hang_is_answered(
    app: Treadle, postgres_url: str, postgres_schema: str, *, many: bool
) -> None:
    """It comes back within about a second, and the next call has a sound connection."""
    schema = postgres_schema.rpartition("=")[2]
    app.enqueue("touch")
    with psycopg.connect(postgres_url) as other:
        other.execute(f"lock table {schema}.treadle_ears in access exclusive mode".encode())
        begun = time.monotonic()
        if many:
            (job,) = app.named("touch").enqueue_many([()])
        else:
            job = app.enqueue("touch")
        took = time.monotonic() - begun
        assert app.job(job.id).state is JobState.READY
    assert took < PATIENCE_S / 2
    assert app.enqueue("touch").refresh().state is JobState.READY
