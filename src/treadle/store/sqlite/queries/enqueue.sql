-- Called by: enqueue, enqueue_now, and on a caller's own connection. Rides the primary key; any
-- number may run at once (SQLite lets one writer in at a time). A job that is stored already is
-- left as it is, which makes the same batch safe to send again for as long as its rows are kept
-- (an hour at least).

-- name: insert_job
insert into {p}jobs (
    id, task, queue, priority, state, args, created_at, run_at, expires_at, attempts_max, policy,
    tags, meta, tenant, cost, tag
) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
on conflict (id) do nothing;

-- name: insert_queue
insert into {p}queues (name) values (?) on conflict (name) do nothing;

-- name: made_at
select created_at from {p}jobs where id = ?;

-- name: set_mark
insert into {p}meta (key, value) values ('mark', ?)
on conflict (key) do update set value = excluded.value;

-- name: mark
select value from {p}meta where key = 'mark';
