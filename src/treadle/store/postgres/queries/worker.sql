-- Called by: register, beat, leave, mark, note, workers. Rides the primary keys and jobs_running.
-- An orphan whose code had started (lost_by) is never given back as unspent: its rescuer decides.

-- name: register
with known as (
    insert into {p}workers (id, info, started_at) values ($1::text, $2::bytea, {now})
    on conflict (id) do update set info = excluded.info
)
insert into {p}beats (worker, beat_at) values ($1::text, {now})
on conflict (worker) do update set beat_at = excluded.beat_at;

-- name: beat
update {p}beats b set beat_at = {now}
where b.worker = $1::text and exists (select from {p}workers w where w.id = b.worker)
returning 1;

-- name: held
select id, number, lost_by from {p}jobs where state = 'running' and worker = $1::text;

-- name: give_back
update {p}jobs j set
    state = 'ready', number = j.number + 1, attempt = j.attempt - 1, worker = null,
    started_at = null, tag = {same_turn}
from unnest($2::uuid[], $3::bigint[]) as g (id, number)
where j.id between g.id and g.id and j.number = g.number and {runs} and j.worker = $1::text
    and j.lost_by is null
returning j.id;

-- name: lock_row
select 1 from {p}workers where id = $1::text for update;

-- name: had_started
update {p}jobs j set reason = 'lost', lost_by = $1::text
from unnest($2::uuid[], $3::bigint[]) as g (id, number)
where j.id between g.id and g.id and j.number = g.number and {runs} and j.worker = $1::text;

-- name: mark_begun
update {p}jobs j set reason = 'begun'
from unnest($1::uuid[], $2::bigint[]) as g (id, number)
where j.id between g.id and g.id and j.number = g.number and {runs};

-- name: give_all_back
-- Answers how many went back, and notes those that have gates for park_back.
with back as (
    update {p}jobs j set
        state = 'ready', number = number + 1, attempt = attempt - 1, worker = null,
        started_at = null, tag = {same_turn}
    where state = 'running' and worker = $1::text and lost_by is null
    returning id, gates
)
select count(*), set_config('treadle.back', coalesce(
    (array_agg(id) filter (where gates is not null))::text, '{}'
), true) from back;

-- name: forget
with gone as (delete from {p}workers where id = $1::text),
withdrawn as (delete from {p}offers where worker = $1::text)
delete from {p}beats where worker = $1::text;

-- name: set_progress
update {p}jobs j set progress = g.progress
from unnest($1::uuid[], $2::bigint[], $3::bytea[]) as g (id, number, progress)
where j.id between g.id and g.id and j.number = g.number and {runs};

-- name: add_logs
with given as (
    select * from unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::text[])
        with ordinality as g (id, number, at, level, line_text, place)
), held as (
    select j.id, j.number, j.attempt,
        coalesce((select max(l.line) from {p}logs l where l.job = j.id), 0) as last
    from {p}jobs j
    where {runs} and j.id in (select id from given)
    order by j.id for no key update of j
)
insert into {p}logs (job, line, attempt, at, level, text)
select g.id, h.last + row_number() over (partition by g.id order by g.place), h.attempt, g.at,
    g.level, g.line_text
from given g join held h on h.id = g.id and h.number = g.number;

-- name: trim_logs
delete from {p}logs l where l.job = any($1::uuid[])
    and l.line <= (select max(m.line) from {p}logs m where m.job = l.job) - $2::bigint;

-- name: workers
select w.id, w.info, w.started_at, b.beat_at,
    (select count(*) from {p}jobs j where j.state = 'running' and j.worker = w.id)
from {p}workers w left join {p}beats b on b.worker = w.id order by w.started_at, w.id;
