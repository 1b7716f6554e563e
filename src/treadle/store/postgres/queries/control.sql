-- Called by: cancel, retry, discard, purge, pause, resume. Each is conditional on the state it
-- finds, so it may race with the line and with itself; rows are locked in the order of their ids.

-- name: cancel
with held as (
    select id from {p}jobs where id = any($1::uuid[]) order by id for update
), gone as (
    delete from {p}jobs j using held where j.id between held.id and held.id returning j.*
), ended as (
    insert into {p}attempts (job, claim, attempt, worker, started_at, finished_at, outcome)
    select id, number, attempt, worker, started_at, {now}, 'cancelled'
    from gone where state = 'running'
    on conflict (job, claim) do nothing
), kept as (
    insert into {p}rest (
        {body}, error, waits_at, state, outcome, reason, finished_at, keep_until
    )
    select id, task, queue, priority, tag, number + (state = 'running')::integer, attempt,
        forgiven, crashes, attempts_max, args, policy, created_at, run_at, expires_at, worker,
        started_at, tags, meta, tenant, cost, progress, key, key_until, key_hash, gates, error,
        waits_at, 'cancelled', 'cancelled', 'cancelled', {now}, {keep_unrun}
    from gone j returning queue, state
), {counted}
select id from gone;

-- name: retry_live
with held as (
    select id from {p}jobs
    where id = any($1::uuid[]) and state in ('ready', 'scheduled', 'retrying')
    order by id for update
)
update {p}jobs j set
    state = 'ready', run_at = {now}, forgiven = attempt, crashes = 0, reason = null,
    parked_at = null, expires_at = case when expires_at <= {now} then null else expires_at end,
    tag = {new_turn}
from held where j.id between held.id and held.id
returning j.id;

-- name: retry_ended
with held as (
    select id, number from {p}history h
    where id = any($1::uuid[]) and state in ('failed', 'cancelled', 'expired')
        and (select true from {p}jobs j where j.id = h.id limit 1) is null
        and {may_run}
    order by id for update
), gone as (
    delete from {p}history h using held where h.id = held.id and h.number = held.number
    returning h.*, h.tableoid as place
), {uncounted}, ended as (
    insert into {p}attempts (
        job, claim, attempt, worker, started_at, finished_at, outcome, error, ran
    )
    select id, number, attempt, worker, started_at, finished_at, coalesce(outcome, state), error,
        ran
    from gone where ran is not null and started_at is not null and state <> 'expired'
    on conflict (job, claim) do nothing
), back as (
    insert into {p}jobs (
        id, task, queue, priority, tag, state, number, attempt, forgiven, attempts_max, args,
        policy, created_at, run_at, expires_at, error, tags, meta, tenant, cost, progress, key,
        key_until, key_hash, gates
    )
    select id, task, queue, priority, {new_turn}, 'ready', number, attempt, attempt,
        attempts_max, args, policy, created_at, {now},
        case when expires_at <= {now} then null else expires_at end, error,
        tags, meta, tenant, cost, progress, key, key_until, key_hash, gates
    from gone j
    on conflict (id) do nothing
)
select id from gone;

-- name: discard
with held as (
    select id, number from {p}history where id = any($1::uuid[]) order by id for update
), gone as (
    delete from {p}history h using held where h.id = held.id and h.number = held.number
    returning h.id, h.queue, h.state, h.tableoid as place
), {uncounted}, attempts_gone as (
    delete from {p}attempts where job in (select id from gone)
), logs_gone as (
    delete from {p}logs where job in (select id from gone)
)
select id from gone;

-- name: purge
with ready as (
    select id from {p}jobs where state = 'ready' and queue = $1::text
    limit $2::bigint for update skip locked
), due as (
    select id from {p}jobs where state in ('scheduled', 'retrying') and queue = $1::text
    limit $2::bigint - (select count(*) from ready) for update skip locked
), parked as (
    select id from {p}jobs
    where state = 'blocked' and waits_at is not null and queue = $1::text
    limit $2::bigint - (select count(*) from ready) - (select count(*) from due)
    for update skip locked
), gone as (
    delete from {p}jobs j using (
        select id from ready union all select id from due union all select id from parked
    ) as found
    where j.id between found.id and found.id returning j.*
), kept as (
    insert into {p}rest (
        {body}, error, waits_at, state, outcome, reason, finished_at, keep_until
    )
    select {body}, error, waits_at, 'cancelled', 'cancelled', 'purged', {now}, {keep_unrun}
    from gone j returning queue, state
), {counted}, leaving as (
    select id, array['claim', 'end', 'record'] as kinds from gone where key is not null
), {freed}
select count(*) from gone;

-- name: pause
insert into {p}queues as q (name, paused_at) values ($1::text, {now})
on conflict (name) do update set paused_at = excluded.paused_at where q.paused_at is null
returning 1;

-- name: resume
update {p}queues set paused_at = null where name = $1::text and paused_at is not null returning 1;
