-- Called by: seal, adopt, unseal, drop, while jobs are moved from store to store. Rides the primary
-- keys. Each is conditional on the state or the seal that it finds, so any number may run at once.

-- name: seal
update {p}jobs set
    -- One that was parked at a gate is ready over there, where it meets its gates anew.
    reason = :seal || case when state = 'blocked' then 'ready|'
        else state || '|' || coalesce(reason, '') end,
    state = 'blocked', waits_at = null
where id = :id and (
    state in ('ready', 'scheduled', 'retrying') or (state = 'blocked' and waits_at is not null)
);

-- name: parcel
select id, task, queue, state, priority, attempt, number, args, created_at, run_at, :now,
    attempts_max, forgiven, crashes, policy, started_at, finished_at, expires_at, keep_until,
    worker, outcome, reason, error, result, tags, meta, tenant, progress, key, gates, waits_at,
    cost, parked_at, ran
from {p}jobs where id = :id and (
    state = 'failed' or (state = 'blocked' and substr(reason, 1, length(:seal)) = :seal)
);

-- name: past_attempts
select attempt, claim, worker, started_at, finished_at, outcome, error, ran
from {p}attempts where job = ? order by claim;

-- name: adopt
insert into {p}jobs (
    id, task, queue, state, priority, attempt, number, args, created_at, run_at, attempts_max,
    forgiven, crashes, policy, started_at, finished_at, expires_at, keep_until, worker, outcome,
    reason, error, tags, meta, tenant, progress, cost, parked_at, ran, gates
) values (
    ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?
) on conflict (id) do nothing;

-- name: sealed_reason
select reason from {p}jobs where id = ? and state = 'blocked';

-- name: adopt_attempt
insert into {p}attempts (
    job, attempt, claim, worker, started_at, finished_at, outcome, error, ran
) values (?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict (job, claim) do nothing;

-- name: adopt_log
insert into {p}logs (job, line, attempt, at, level, text) values (?, ?, ?, ?, ?, ?)
on conflict (job, line) do nothing;

-- name: unseal
update {p}jobs set state = ?, reason = ?, tag = iif(tenant is null, 0, {untagged})
where id = ? and state = 'blocked' and reason = ?;

-- name: drop_sealed
delete from {p}jobs
where id = :id and state = 'blocked' and substr(reason, 1, length(:seal)) = :seal;
