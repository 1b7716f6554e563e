-- Called by: stage and prune, by any worker at any time. Each statement is bounded by a limit and
-- rides a partial index that holds only what it looks for: jobs_due, jobs_expiring,
-- jobs_parked, jobs_ended.

-- name: stage_due
update {p}jobs set state = 'ready', reason = null where id in (
    select id from {p}jobs
    where state in ('scheduled', 'retrying') and run_at <= :now and gates is null
    order by run_at limit :limit
);

-- name: stage_expired
update {p}jobs set
    state = 'expired', outcome = 'expired', reason = 'expired', finished_at = :now,
    keep_until = max(:now + :keep, created_at + 3600000000)
where id in (
    select id from {p}jobs
    where expires_at is not null and state in ('ready', 'scheduled', 'retrying', 'blocked')
        and expires_at <= :now
    order by expires_at limit :limit
)
returning id, key;

-- name: stage_parked
update {p}jobs set state = 'ready', reason = null, run_at = :now where id in (
    select id from {p}jobs
    where reason = 'unknown_task' and state = 'scheduled' and run_at > :now
        and task in (select value from json_each(:tasks))
    limit :limit
);

-- name: over
select id, key from {p}jobs where keep_until is not null and keep_until <= ?
order by keep_until limit ?;

-- name: delete_job
delete from {p}jobs where id = ? and keep_until is not null;

-- name: delete_attempts
delete from {p}attempts where job = ?;

-- name: delete_logs
delete from {p}logs where job = ?;

-- name: any_expiring
select 1 from {p}jobs
where expires_at is not null and state in ('ready', 'scheduled', 'retrying', 'blocked')
    and expires_at <= ? limit 1;

-- name: any_parked
select 1 from {p}jobs where reason = 'unknown_task' and state = 'scheduled' limit 1;

-- name: any_over
select 1 from {p}jobs where keep_until is not null and keep_until <= ? limit 1;

-- name: any_kept
select 1 where exists (select 1 from {p}keys)
    or exists (select 1 from {p}requests where made_at <= ? - 3600000000)
    or exists (select 1 from {p}locks where until_at <= ? - 3600000000);
