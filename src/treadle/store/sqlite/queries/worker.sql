-- Called by: register, beat, leave, note, workers. Rides the primary keys and jobs_running.
-- An orphan whose code had started (reason 'lost') is never given back as unspent: it stays with
-- its holder until a rescuer has decided about it.

-- name: register
insert into {p}workers (id, info, started_at) values (?, ?, ?)
on conflict (id) do update set info = excluded.info;

-- name: known
select 1 from {p}workers where id = ?;

-- name: held
select id, number from {p}jobs where state = 'running' and worker = ?;

-- name: give_back
update {p}jobs set
    state = 'ready', number = number + 1, attempt = attempt - 1, worker = null, started_at = null,
    tag = -abs(tag)
where id = ? and number = ? and state = 'running' and worker = ? and reason is not 'lost';

-- name: had_started
update {p}jobs set reason = 'lost'
where id = ? and number = ? and state = 'running' and worker = ?;

-- name: give_all_back
update {p}jobs set
    state = 'ready', number = number + 1, attempt = attempt - 1, worker = null, started_at = null,
    tag = -abs(tag)
where state = 'running' and worker = ? and reason is not 'lost';

-- name: forget
delete from {p}workers where id = ?;

-- name: set_progress
update {p}jobs set progress = ? where id = ? and number = ? and state = 'running';

-- name: claim_of
select attempt from {p}jobs where id = ? and number = ? and state = 'running';

-- name: add_log
insert into {p}logs (job, line, attempt, at, level, text)
select :job, coalesce((select max(line) from {p}logs where job = :job), 0) + 1,
    :attempt, :at, :level, :text;

-- name: trim_logs
delete from {p}logs where job = :job
    and line <= (select max(line) from {p}logs where job = :job) - :kept;

-- name: workers
select w.id, w.info, w.started_at,
    (select count(*) from {p}jobs where state = 'running' and worker = w.id)
from {p}workers as w order by w.started_at, w.id;
