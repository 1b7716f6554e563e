-- Called by: get, ended, find, attempts, logs, queues, dead_groups. Readers never block writers
-- and writers never block readers (WAL); each sees one consistent state.

-- name: job
select id, task, queue, state, priority, attempt, number, args, created_at, run_at, :now,
    attempts_max, forgiven, crashes, policy, started_at, finished_at, expires_at, keep_until,
    worker, outcome, iif(state = 'running', null, reason), error, result, tags, meta, tenant,
    progress, key, gates, waits_at
from {p}jobs where id = :id;

-- name: is_live
select 1 from {p}jobs where id = ?
    and state not in ('succeeded', 'failed', 'cancelled', 'expired');

-- name: find
select id, task, queue, state, priority, attempt, number, args, created_at, run_at, :now,
    attempts_max, forgiven, crashes, policy, started_at, finished_at, expires_at, keep_until,
    worker, outcome, iif(state = 'running', null, reason), error, result, tags, meta, tenant,
    progress, key, gates, waits_at
from {p}jobs
where (:before is null or id < :before) {where}
order by id desc limit :limit;

-- name: attempts
select attempt, claim, worker, started_at, finished_at, outcome, error, ran
from {p}attempt_log where job = ? order by claim;

-- name: logs
select attempt, at, level, text from {p}logs where job = ? order by line;

-- name: queues
select name, paused_at from {p}queues order by name;

-- name: counts
select queue, state, count(*) from {p}jobs group by queue, state;

-- name: oldest_ready
select min(run_at) from (
    select run_at from {p}jobs where state = 'ready' and queue = ?
    order by priority desc, tag, id limit 1000
);

-- name: dead_groups
select task, coalesce(reason, ''),
    case when json_valid(cast(error as text))
        then coalesce(json_extract(cast(error as text), '$.type'), '') else '' end,
    count(*), max(finished_at)
from {p}jobs where state = 'failed' group by 1, 2, 3 order by 4 desc, 1, 2, 3 limit ?;
