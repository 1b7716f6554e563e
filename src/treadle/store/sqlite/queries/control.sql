-- Called by: cancel, retry, discard, purge, pause, resume. Each is conditional on the state it
-- finds, so it may race with the line and with itself; the primary key and jobs_ready carry it.

-- name: end_attempt
insert into {p}attempts (
    job, claim, attempt, worker, started_at, finished_at, outcome
)
select id, number, attempt, worker, started_at, ?, 'cancelled'
from {p}jobs where id = ? and state = 'running';

-- name: cancel
update {p}jobs set
    state = 'cancelled', outcome = 'cancelled', reason = 'cancelled',
    number = number + (state = 'running'), finished_at = :now,
    keep_until = max(:now + :keep, created_at + 3600000000)
where id = :id and state not in ('succeeded', 'failed', 'cancelled', 'expired');

-- name: keep_last_attempt
insert into {p}attempts (
    job, claim, attempt, worker, started_at, finished_at, outcome, error, ran
)
select id, number, attempt, worker, started_at, finished_at, coalesce(outcome, state), error, ran
from {p}jobs
where id = ? and state in ('failed', 'cancelled') and ran is not null and started_at is not null
on conflict (job, claim) do nothing;

-- name: retry
update {p}jobs set
    state = 'ready', run_at = :now, forgiven = attempt, crashes = 0, reason = null,
    parked_at = null, worker = null, started_at = null, finished_at = null, keep_until = null,
    expires_at = case when expires_at <= :now then null else expires_at end,
    outcome = null, ran = null, waits_at = null, tag = iif(tenant is null, 0, {untagged})
where id = :id
    and state in ('failed', 'cancelled', 'expired', 'scheduled', 'retrying', 'ready');

-- name: discard
delete from {p}jobs
where id = ? and state in ('succeeded', 'failed', 'cancelled', 'expired');

-- name: purge_ready
update {p}jobs set
    state = 'cancelled', outcome = 'cancelled', reason = 'purged', finished_at = :now,
    keep_until = max(:now + :keep, created_at + 3600000000)
where id in (
    select id from {p}jobs where state = 'ready' and queue = :queue limit :limit
)
returning id, key;

-- name: purge_due
update {p}jobs set
    state = 'cancelled', outcome = 'cancelled', reason = 'purged', finished_at = :now,
    keep_until = max(:now + :keep, created_at + 3600000000)
where id in (
    select id from {p}jobs
    where state in ('scheduled', 'retrying') and queue = :queue limit :limit
)
returning id, key;

-- name: purge_parked
update {p}jobs set
    state = 'cancelled', outcome = 'cancelled', reason = 'purged', finished_at = :now,
    keep_until = max(:now + :keep, created_at + 3600000000)
where id in (
    select id from {p}jobs
    where state = 'blocked' and waits_at is not null and queue = :queue limit :limit
)
returning id, key;

-- name: pause
insert into {p}queues (name, paused_at) values (:queue, :now)
on conflict (name) do update set paused_at = :now where paused_at is null;

-- name: resume
update {p}queues set paused_at = null where name = :queue and paused_at is not null;
