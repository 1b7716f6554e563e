-- Called by: exchange, in one transaction: settle, then claim. Settling rides the primary key
-- and is fenced by the claim number; claiming rides jobs_ready and reads as many index entries
-- as it takes jobs. One writer at a time, so no two workers can claim one job.

-- name: last_request
select request, answer from {p}workers where id = ?;

-- name: remember_request
update {p}workers set request = ?, answer = ? where id = ?;

-- name: settle_succeeded
update {p}jobs set
    state = 'succeeded', outcome = 'succeeded', result = ?, error = null, reason = null,
    parked_at = null, finished_at = ?, keep_until = max(?, created_at + 3600000000), ran = ?
where id = ? and number = ? and state = 'running';

-- name: settle_ended
update {p}jobs set
    state = :state, outcome = :outcome, attempt = :attempt, result = null, error = :error,
    reason = :reason, forgiven = :forgiven, crashes = :crashes, finished_at = :now,
    worker = coalesce(:lost_by, worker),
    keep_until = max(:now + :keep, created_at + 3600000000), ran = :ran
where id = :id and number = :number and state = 'running';

-- name: record_attempt
insert into {p}attempts (
    job, claim, attempt, worker, started_at, finished_at, outcome, error, ran
)
select id, number, attempt, coalesce(:lost_by, worker), started_at, :now, :outcome, :error, :ran
from {p}jobs where id = :id and number = :number and state = 'running';

-- name: trim_attempts
delete from {p}attempts where job = ? and claim in (
    select claim from {p}attempts where job = ? order by claim desc limit -1 offset ?
);

-- name: settle_waiting
update {p}jobs set
    state = case when :delay = 0 then 'ready' else :state end,
    run_at = case when :outcome = '' and :delay = 0 then run_at else :now + :delay end,
    attempt = :attempt, error = coalesce(:error, error), reason = :reason,
    tag = case when tenant is null then 0 when :outcome = '' then -abs(tag) else {untagged} end,
    forgiven = :forgiven, crashes = :crashes, worker = null, started_at = null, ran = null,
    parked_at = case when :reason = 'unknown_task' then coalesce(parked_at, :now) end
where id = :id and number = :number and state = 'running';

-- name: claim
update {p}jobs set
    state = case when expires_at <= :now then 'expired' else 'running' end,
    number = number + 1, attempt = attempt + 1, worker = :worker, started_at = :now,
    outcome = null, reason = null
where id in (
    select id from ({heads} order by 1 desc, 2, 3 limit :limit)
)
returning -priority, tag, id, number, task, queue, attempt, args, attempts_max, forgiven, crashes,
    policy, created_at, run_at, expires_at, parked_at, tags, meta, tenant, key, gates;

-- name: heads
select id from ({heads} order by 1 desc, 2, 3 limit :limit);

-- name: claim_one
update {p}jobs set
    state = case when expires_at <= :now then 'expired' else 'running' end,
    number = number + 1, attempt = attempt + 1, worker = :worker, started_at = :now,
    outcome = null, reason = null
where id = :id and state = 'ready'
returning -priority, tag, id, number, task, queue, attempt, args, attempts_max, forgiven, crashes,
    policy, created_at, run_at, expires_at, parked_at, tags, meta, tenant, key, gates;

-- name: set_aside
update {p}jobs set
    state = 'failed', outcome = 'unreadable', reason = 'unreadable', worker = null,
    number = min(number, 9223372036854775806) + 1, attempt = min(attempt, 1000000),
    error = ?, finished_at = ?, keep_until = max(?, created_at + 3600000000)
where id = ?;

-- name: head
select priority, tag, id from {p}jobs where state = 'ready' and queue = ?

-- name: best_head
select priority, tag, id from {p}jobs where state = 'ready' and queue = ?
order by priority desc, tag, id limit 1;

-- name: expire_claimed
update {p}jobs set
    attempt = attempt - 1, worker = null, started_at = null, finished_at = ?,
    keep_until = max(?, created_at + 3600000000), outcome = 'expired', reason = 'expired'
where id = ? and state = 'expired';

-- name: open_queues
select name from {p}queues where paused_at is null order by name;

-- name: paused_queues
select name from {p}queues where paused_at is not null;

-- name: paused
-- Queues and tasks that are paused: a task by its gate, of which jobs carry nothing.
select name, 0 from {p}queues where paused_at is not null
union all
select substr(name, 6), 1 from {p}gates
where name >= 'task:' and name < 'task;' and shut_until > ?;

-- name: any_ready
select 1 from {p}jobs where state = 'ready' and queue = ? limit 1;

-- name: next_due
select case when due <= wake or wake is null then due else wake end from (
    select (select min(run_at) from {p}jobs where state in ('scheduled', 'retrying')) as due,
        (select min(wake_at) from {p}gates where wake_at is not null) as wake
);

-- name: claims_again
select -priority, tag, id, number, task, queue, attempt, args, attempts_max, forgiven, crashes,
    policy, created_at, run_at, expires_at, parked_at, tags, meta, tenant, key, gates, started_at
from {p}jobs where id = ?;
