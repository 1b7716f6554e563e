"""The relay: in order, once each, past bad rows and through outages."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.transit.kit import WAIT_S, Shop, migrated
from treadle import StoreUnavailable, Treadle, Worker
from treadle.core import fault
from treadle.core.ids import id_bytes, new_id
from treadle.core.job import NewJob
from treadle.core.settings import Settings
from treadle.store.open import open_store
from treadle.store.outbox.table import PAGE, Outbox
from treadle.store.statements import BEGIN, COMMIT, Script, T
from treadle.testing.proxy import Proxy
from treadle.transit.desk import desk_of
from treadle.transit.relay import Relay


def write(shop: Shop, *numbers: int) -> list[str]:
    """Enqueue in one transaction; give the ids."""
    with shop.connected() as db:
        jobs = shop.mail.using(connection=db).enqueue_many([(number,) for number in numbers])
        db.commit()
    return [job.id for job in jobs]


@contextmanager
def running(relay: Relay) -> Iterator[threading.Event]:
    """Run a relay on a thread until the block ends."""
    stop = threading.Event()
    thread = threading.Thread(target=relay.run, args=(stop,))
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(WAIT_S)


def until(true: Callable[[], bool], what: str) -> None:
    """Wait, bounded, until something is true."""
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.01)


def test_jobs_of_one_connection_keep_their_order(shop: Shop) -> None:
    """Over pages and transactions they become claimable as they were written."""
    ids = [id_ for n in range(3) for id_ in write(shop, *range(n * 300, n * 300 + 300))]
    assert len(ids) > PAGE
    with shop.relay() as relay:
        assert [relay.step(), relay.step(), relay.step()] == [PAGE, len(ids) - PAGE, 0]
    assert shop.claimed(len(ids)) == ids


def test_a_row_that_commits_late_is_not_passed_over(shop: Shop) -> None:
    """Its number is lower than that of rows relayed before it; it is relayed when it is seen."""
    if shop.is_file:
        pytest.skip("a SQLite file has one writer at a time")
    with shop.connected() as slow, shop.relay() as relay:
        late = shop.mail.using(connection=slow).enqueue(1)
        [early] = write(shop, 2)
        assert relay.step() == 1
        slow.commit()
        assert relay.step() == 1
    assert sorted(shop.stored()) == sorted([early, late.id])


def test_a_job_that_has_run_is_not_stored_again(shop: Shop) -> None:
    """A row that was sent and not deleted changes nothing, whatever became of its job."""
    [id_] = write(shop, 1)
    shop.app.store.enqueue_now(b"r" * 16, [_job_in(shop)])
    Worker(shop.app, burst=True).run()
    with shop.relay() as relay:
        assert relay.step() == 1
        assert relay.backlog().waiting == 0
    [job] = shop.app.jobs()
    assert (job.id, job.state, job.attempt) == (id_, "succeeded", 1)


def test_a_row_that_cannot_be_read_is_set_aside(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """Those behind it go on; it is told, kept, and relayed when it is mended and asked for."""
    first, bad, last = write(shop, 1), write(shop, 2), write(shop, 3)
    mark = "?" if shop.is_file else "%s"
    with shop.connected() as db:
        look = f"select job from {shop.outbox.table} where id = {mark}"  # noqa: S608 -- ours
        [[raw]] = db.execute(look, (id_bytes(bad[0]),)).fetchall()
        change = f"update {shop.outbox.table} set job = {mark} where id = {mark}"  # noqa: S608
        db.execute(change, (b"no job", id_bytes(bad[0])))
        db.commit()
        with shop.relay() as relay, caplog.at_level(logging.ERROR):
            assert relay.step() == 3
            assert relay.step() == 0
            backlog = relay.backlog()
            assert [id_ for id_, _ in backlog.problems] == [id_bytes(bad[0])]
            assert (backlog.waiting, backlog.refused, relay.done.sent) == (0, 1, 2)
            assert bad[0] in caplog.text
            assert shop.stored() == first + last
            db.execute(change, (bytes(raw), id_bytes(bad[0])))
            db.commit()
            shop.say(shop.outbox.again())
            assert relay.step() == 1
    assert shop.stored() == first + bad + last


def test_a_job_that_the_store_refuses_fails_alone(shop: Shop) -> None:
    """A batch with one such job is sent apart, in order."""
    ids = write(shop, 1, 2, 3)
    mark = "?" if shop.is_file else "%s"
    with shop.connected() as db:
        # An id that is none: the row agrees with itself, and the store refuses it.
        raw = b'{"id":"YWI=","task":"mail","args":"W10="}'
        table = shop.outbox.table
        change = f"update {table} set id = {mark}, job = {mark} where id = {mark}"  # noqa: S608
        db.execute(change, (b"ab", raw, id_bytes(ids[1])))
        db.commit()
    with shop.relay() as relay:
        assert relay.step() == 3
        assert (relay.done.sent, relay.done.refused) == (2, 1)
        [(_, why)] = relay.backlog().problems
    assert "16 bytes" in why
    assert shop.stored() == [ids[0], ids[2]]


def test_a_second_relay_stands_by(shop: Shop) -> None:
    """While another one has a page in its hands it takes nothing, so that none overtakes it."""
    ids = write(shop, 1, 2)
    first = shop.desk()
    assert first.page()
    with shop.relay() as second:
        assert (second.step(), second.done.stands_by) == (0, True)
        assert shop.stored() == []
        first.close()
        # PostgreSQL ends the turn when it has noticed that the connection is gone.
        until(lambda: second.step() == len(ids), "the turn is free")
        assert not second.done.stands_by
    assert shop.stored() == ids


def test_two_relays_share_one_outbox(shop: Shop) -> None:
    """One works and the other stands by; when the first is gone the second goes on."""
    with shop.relay() as first, shop.relay() as second:
        with running(first):
            ids = write(shop, *range(50))
            until(lambda: len(shop.stored()) == len(ids), "the first has relayed all")
            with running(second):
                ids += write(shop, *range(50))
                until(lambda: len(shop.stored()) == len(ids), "one of them has relayed more")
        with running(second):
            ids += write(shop, *range(50))
            until(lambda: len(shop.stored()) == len(ids), "the second has relayed the rest")
        assert first.done.sent + second.done.sent == len(ids)
    assert shop.claimed(len(ids)) == ids


def test_a_store_that_is_away_delays_and_loses_nothing(shop: Shop, redis_url: str) -> None:
    """The relay tries again until the store is back; rows wait meanwhile."""
    port = int(redis_url.rpartition(":")[2].partition("/")[0])
    with Proxy(port) as proxy:
        settings = Settings(store_timeout=2.0)
        url = f"redis://127.0.0.1:{proxy.port}/0"
        store = open_store(url, shop.app.settings.namespace, settings)
        store.open_now()
        with shop.relay(store) as relay:
            proxy.refuse()
            ids = write(shop, 1, 2)
            with pytest.raises(StoreUnavailable):
                relay.step()
            assert relay.backlog().waiting == 2
            with running(relay):
                proxy.heal()
                until(lambda: relay.done.sent == 2, "the store is back")
        store.close_now()
    assert shop.stored() == ids


def test_an_outbox_whose_database_goes_away_is_taken_up_again(shop: Shop) -> None:
    """Rows that were sent when it broke are sent again, which changes nothing."""
    if shop.is_file:
        pytest.skip("a file does not go away")
    address = urlsplit(shop.url)
    assert address.port is not None
    with Proxy(address.port) as proxy:
        url = shop.url.replace(f":{address.port}/", f":{proxy.port}/")
        desk = desk_of(Outbox(url, shop.app.settings.namespace), 2.0)
        relay = Relay(desk, shop.app.store, poll=0.05)
        ids = write(shop, 1, 2)
        fault.arm(lambda name: proxy.reset() if name == "relay.after_send" else None)
        try:
            with pytest.raises(StoreUnavailable, match="the outbox's database"):
                relay.step()
        finally:
            fault.arm(None)
        assert shop.stored() == ids
        assert shop.say(shop.outbox.backlog()).waiting == 2
        proxy.heal()
        until(lambda: relay.step() == 2, "the turn of the broken connection is over")
        desk.close()
    assert shop.stored() == ids


def test_an_idle_relay_hears_of_a_commit(shop: Shop) -> None:
    """PostgreSQL tells it at once, however long it would rest by itself."""
    if shop.is_file:
        pytest.skip("nobody tells of a commit to a file")
    desk = shop.desk()
    assert desk.run(shop.outbox.backlog()).waiting == 0
    heard = threading.Event()

    def listen() -> None:
        desk.wait(2 * WAIT_S, threading.Event())
        heard.set()

    listener = threading.Thread(target=listen)
    listener.start()
    write(shop, 1)
    assert heard.wait(WAIT_S)
    listener.join()
    desk.close()


def _job_in(shop: Shop) -> NewJob:
    desk = shop.desk()
    rows = desk.page()
    assert rows
    desk.close()
    return rows[0].job()


def test_an_ended_job_is_known_where_ended_jobs_lie_apart(
    tmp_path: Path, namespace: str, postgres_url: str
) -> None:
    """A row that was sent and not deleted changes nothing in PostgreSQL either."""
    assert namespace
    url = f"sqlite:///{tmp_path}/shop.db"
    app = Treadle(postgres_url, settings={"outbox": url})
    asyncio.run(migrated(app))
    shop = Shop(app, url)
    shop.make()
    [id_] = write(shop, 1)
    app.store.enqueue_now(b"r" * 16, [_job_in(shop)])
    Worker(app, burst=True).run()
    with shop.relay() as relay:
        assert relay.step() == 1
    assert [(job.id, job.state) for job in app.jobs()] == [(id_, "succeeded")]
    app.close()


def test_delays_and_expiries_count_from_the_enqueue(shop: Shop) -> None:
    """However late the relay comes, the job is due as it was told to be."""
    at = 1_700_000_000_000_000
    job = NewJob(new_id(), "mail", b"[[1],{}]", delay=5, expires_in=9)
    shop.say(_committed(shop.outbox.enqueue([job], now=at)))
    written = _job_in(shop)
    assert (written.at, written.delay) == (at + 5, 0)
    assert (written.expires_at, written.expires_in) == (at + 9, None)


def _committed(script: Script[T]) -> Script[T]:
    yield BEGIN
    value = yield from script
    yield COMMIT
    return value
