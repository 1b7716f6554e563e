-- Called by: rescue. Rides jobs_running. The dead worker's row and beat are locked first, as its
-- own exchange locks them, so it either finishes before or finds itself gone. The number rises
-- with the take-over, so whatever it still settles is LOST. A claim that is marked as begun, or
-- was when it was taken over before, is 'lost'; one of which nothing is known is 'orphaned'.

-- name: crew
-- Who holds jobs is read from jobs_running by one entry each, not by all that they hold.
with recursive holders (id) as (
    (select worker from {p}jobs where state = 'running' order by worker limit 1)
    union all
    select (
        select j.worker from {p}jobs j
        where j.state = 'running' and j.worker > holders.id order by j.worker limit 1
    )
    from holders where holders.id is not null
)
select w.id, w.info, b.beat_at from {p}workers w left join {p}beats b on b.worker = w.id
union all
select h.id, null::bytea, null::bigint from holders h
where h.id is not null and not exists (select from {p}workers w where w.id = h.id);

-- name: lock_beat
select beat_at from {p}beats where worker = $1::text for update;

-- name: take_over
with orphans as (
    select id from {p}jobs
    where state = 'running' and worker = $1::text
        and not exists (
            select from {p}beats b where b.worker = $1::text and b.beat_at <> $3::bigint
        )
        and exists (select from {p}workers w where w.id = $2::text)
    order by id limit $4::bigint for update
)
update {p}jobs j set number = number + 1, worker = $2::text,
    reason = case when reason in ('begun', 'lost') then 'lost' else 'orphaned' end,
    lost_by = coalesce(lost_by, $1::text)
from orphans where j.id between orphans.id and orphans.id
returning {claim_row_j}, j.lost_by, j.reason = 'lost';

-- name: claim_row_j
j.priority, j.tag, j.id, j.number, j.task, j.queue, j.attempt, j.args, j.attempts_max, j.forgiven,
j.crashes, j.policy, j.created_at, j.run_at, j.expires_at, j.parked_at, j.tags, j.meta, j.tenant,
j.started_at, j.key, convert_to(j.gates::text, 'UTF8')

-- name: take_again
-- What this rescuer took over in a call whose answer it never saw.
update {p}jobs j set number = j.number + 1
from unnest($2::uuid[], $3::bigint[]) as g (id, number)
where j.id between g.id and g.id and j.number = g.number and {runs} and j.worker = $1::text
    and j.lost_by is not null
returning {claim_row_j}, j.lost_by, j.reason = 'lost';

-- name: forget_dead
with alone as (
    select w.id from {p}workers w where w.id = $1::text
        and not exists (select from {p}jobs j where j.state = 'running' and j.worker = w.id)
        and not exists (
            select from {p}beats b where b.worker = w.id and b.beat_at <> $2::bigint
        )
), gone as (delete from {p}workers w using alone where w.id = alone.id), withdrawn as (
    delete from {p}offers o using alone where o.worker = alone.id
)
delete from {p}beats b using alone where b.worker = alone.id;
