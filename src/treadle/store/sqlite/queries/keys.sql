-- Called by: enqueue with keys; settle, claim, cancel, retry, purge, discard, stage and prune for
-- jobs that have one; keys. Rides the primary key of keys, keys_job and keys_next. One writer at a
-- time, so what is read here is still so when it is written.

-- name: request_said
select made_at, fates from {p}requests where id = ?;

-- name: request_note
insert into {p}requests (id, made_at, fates) values (?, ?, ?);

-- name: requests_over
delete from {p}requests where id in (
    select id from {p}requests where made_at <= ? - 3600000000 order by made_at limit ?
);

-- name: insert_keyed
insert into {p}jobs (
    id, task, queue, priority, state, args, created_at, run_at, expires_at, attempts_max, policy,
    tags, meta, tenant, cost, tag, key, key_until, key_hash, gates
) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
on conflict (id) do nothing
returning 1;

-- name: unstore
delete from {p}jobs where id = ?;

-- name: key
select job, until, until_at, hash, next from {p}keys where name = ?;

-- name: key_take
insert into {p}keys (name, job, until, until_at, hash) values (?, ?, ?, ?, ?)
on conflict (name) do update set
    job = excluded.job, until = excluded.until, until_at = excluded.until_at,
    hash = excluded.hash, next = null;

-- name: key_drop
delete from {p}keys where name = ?;

-- name: key_next
update {p}keys set next = ? where name = ?;

-- name: state_of
select state, created_at from {p}jobs where id = ?;

-- name: replace_job
update {p}jobs set
    task = ?, queue = ?, priority = ?, args = ?, run_at = ?, expires_at = ?, attempts_max = ?,
    policy = ?, tags = ?, meta = ?, tenant = ?, cost = ?, tag = ?, key_until = ?,
    gates = ?,
    -- One that is parked at a gate is ready with its new values, and meets its gates anew.
    state = case when state = 'blocked' and waits_at is null then state else ? end,
    forgiven = attempt, crashes = 0, parked_at = null, error = null,
    reason = case when state = 'blocked' and waits_at is null then reason end, waits_at = null
where id = ? and (
    state in ('scheduled', 'ready', 'retrying')
    or (state = 'blocked' and (reason = 'key' or waits_at is not null))
)
returning 1;

-- name: wait_behind
update {p}jobs set state = 'blocked', reason = 'key' where id = ?;

-- name: keys_of
select name, until, next from {p}keys where job = ?;

-- name: key_given_up
update {p}keys set next = null where next = ?;

-- name: key_pass
update {p}keys set job = next, next = null, until_at = null, hash = null,
    until = coalesce((select key_until from {p}jobs where id = next), until)
where name = ?;

-- name: wake
update {p}jobs set state = case when run_at > ? then 'scheduled' else 'ready' end, reason = null
where id = ? and state = 'blocked'
returning 1;

-- name: key_of_job
select key, key_until, key_hash, state from {p}jobs where id = ?;

-- name: keys_over
select name, job, next from {p}keys where until_at is not null and until_at <= ?
order by until_at limit ?;

-- name: keys_page
select name, job, until, (select state from {p}jobs where id = job)
from {p}keys where name > ? order by name limit ?;

-- name: key_record
select name, job, until, until_at, next from {p}keys where name = ?;
