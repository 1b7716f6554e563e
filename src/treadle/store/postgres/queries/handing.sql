-- Called by: enqueue (one plain job), exchange and wait. Rides the primary keys; there is a row in
-- offers for each worker that is idle, or was handed a job since it was (docs/adr/0027). Any number
-- at once: nobody waits for an offer that another one locks.

-- name: enqueue_one
-- Stores what `enqueue` does, for one job that is ready at once and has nothing out of the
-- ordinary. Where an idle worker would claim this job next, it is claimed for it here. The worker's
-- row is locked, as in exchange and rescue. What is asked beyond that is asked only where an offer
-- stands.
with made as (
    insert into {p}requests (id, made_at) values ($1::uuid, {now})
    on conflict (id) do nothing returning made_at
), idle as (
    select o.worker from {p}offers o
        join {p}workers w on w.id = o.worker join {p}beats b on b.worker = o.worker
    where exists (select from made) and o.job is null and b.beat_at > {now} - o.patience
        and {is_heard} and case when o.job is null then {is_next} end
    limit 1 for no key update of o, w skip locked
), stored as (
    insert into {p}jobs (
        id, task, args, queue, priority, state, created_at, run_at, attempts_max, policy, tags,
        meta, cost, number, attempt, worker, started_at
    )
    select $2::uuid, $3::text, $4::bytea, $5::text, 0,
        case when idle.worker is null then 'ready' else 'running' end,
        {now}, {now}, $6::bigint, $7::bytea, $8::bytea, $9::bytea, $10::bigint,
        (idle.worker is not null)::integer, (idle.worker is not null)::integer, idle.worker,
        case when idle.worker is not null then {now} end
    from made left join idle on true
), taken as (
    update {p}offers o set job = $2::uuid from idle where o.worker = idle.worker
)
select made_at from made;

-- name: is_heard
-- The connection on which the worker's process hears its news is alive: it holds this lock.
not pg_try_advisory_xact_lock_shared(o.ear)

-- name: is_next
-- Neither the queue nor the task is paused, and nothing else is ready: which is asked last, as it
-- may read past dead rows.
not exists (
    select from {p}queues q where q.name = $5::text and q.paused_at is not null
) and $3::text <> all (array({paused_tasks})) and not exists ({open_ready})

-- name: open_ready
-- The open queues that have ready jobs: one step into the index for each. Without the limit it may
-- be planned as a join that reads all ready jobs, those of paused queues among them.
select from {p}queues q cross join lateral (
    select from {p}jobs j where j.state = 'ready' and j.queue = q.name limit 1
) as one
where q.paused_at is null

-- name: ring_handed
-- After the commit, as `ring_after`: tells the worker that was handed this job, or all who listen.
with handed as (select ear, worker from {p}offers where job = $2::uuid)
select pg_notify('{channel}' || ear, worker), set_config('synchronous_commit', 'off', true)
from handed
union all
select pg_notify('{channel}' || kind, ''), set_config('synchronous_commit', 'off', true)
from {p}ears where kind = any($1::text[]) and until > {real_now}
    and not exists (select from handed);

-- name: handed
-- What an enqueue has claimed for this worker, while it holds that claim.
select {claim_row} from {p}jobs j
where j.id = (select o.job from {p}offers o where o.worker = $1::text)
    and {runs} and j.worker = $1::text and j.number = 1 and j.lost_by is null;

-- name: offer
-- None is made where what an enqueue then looks at takes long: each one would. While some session
-- holds a transaction open for hours, rows lie dead in offers and among what was ready.
-- What was handed over and not yet given ($4 is what was, last) stays while the worker holds it:
-- its next exchange gives it. So does what is handed over just now, which the row may say by the
-- time that it is ours to write, though no job of that id is seen yet.
with began as materialized (
    select clock_timestamp() as at
), looked as materialized (
    select began.at, exists ({open_ready} and began.at is not null) as is_late, (
        select count(*) from {p}offers o where o.job is null and began.at is not null
    ) as others
    from began
), quick as materialized (
    select is_late from looked
    where others >= 0 and clock_timestamp() - at < interval '1 millisecond'
), settled as (
    select b.job from {p}offers b where b.worker = $1::text and not exists (
        select from {p}jobs j
        where j.id = b.job and {runs} and j.worker = b.worker and j.number = 1
    )
), made as (
    insert into {p}offers as o (worker, ear, patience)
    select id, $2::bigint, $3::bigint from {p}workers
    where id = $1::text and exists (select from quick where not is_late)
    on conflict (worker) do update set ear = excluded.ear, patience = excluded.patience, job = null
    where o.job is null or o.job = $4::uuid or o.job = (select job from settled)
    returning 1
)
select exists (select from quick), exists (select from made);

-- name: withdraw
delete from {p}offers where worker = $1::text and job is null;
