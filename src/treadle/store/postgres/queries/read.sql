-- Called by: get, ended, find, attempts, logs, queues, dead_groups. Readers never block writers
-- and writers never block readers; each statement sees one consistent state.

-- name: jobs
select {record_row} from {p}records where id = any($1::uuid[]);

-- name: live
select id from {p}jobs where id = any($1::uuid[]);

-- name: find_live
select {record_row} from (
    select id, task, queue, state, priority, attempt, number, args, created_at, run_at,
        attempts_max, forgiven, crashes, policy, started_at, null::bigint as finished_at,
        expires_at, null::bigint as keep_until, worker, null::text as outcome, reason, error,
        null::bytea as result, tags, meta, tenant, progress, key, gates, waits_at
    from {p}jobs
) as r
where {where} order by id desc limit $1::bigint;

-- name: find_ended
select {record_row} from {p}history where {where} order by id desc limit $1::bigint;

-- name: find_dead
select {record_row} from {p}dead where {where} order by id desc limit $1::bigint;

-- name: find_any
select {record_row} from {p}records where {where} order by id desc limit $1::bigint;

-- name: attempts
select attempt, claim, worker, started_at, finished_at, outcome, error, ran
from {p}attempt_log where job = $1::uuid order by claim;

-- name: logs
select attempt, at, level, text from {p}logs where job = $1::uuid order by line;

-- name: queues
select q.name, q.paused_at, (
    select min(run_at) from (
        select run_at from {p}jobs j where j.state = 'ready' and j.queue = q.name
        order by j.priority desc, j.tag, j.id limit 1000
    ) as head
)
from {p}queues q order by q.name;

-- name: counts
-- What lives is counted; of what has ended the counts are kept.
select queue, state, count(*) from {p}jobs group by queue, state
union all
select queue, state, sum(jobs)::bigint from (
    select queue, state, jobs from {p}totals union all select queue, state, jobs from {p}counted
) as history group by queue, state;

-- name: dead_groups
select task, coalesce(reason, ''), coalesce(error_type, ''), count(*), max(finished_at)
from {p}dead group by 1, 2, 3 order by 4 desc, 1, 2, 3 limit $1::bigint;
