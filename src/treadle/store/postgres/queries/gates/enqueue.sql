-- Jobs with gates come in. Called by: enqueue, fire, and the enqueue of a caller's transaction.
-- Rides the primary keys and jobs_waiting. Any number may run at once: jobs are written before a
-- gate is locked.

-- name: enqueue_gated
with made as (
    insert into {p}requests (id, made_at) values ($1::uuid, {now})
    on conflict (id) do nothing returning made_at
), given as (
    select *, coalesce(at, {now} + delay) as starts_at
    from unnest(
        $2::uuid[], $3::text[], $4::bytea[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[],
        $9::bigint[], $10::bigint[], $11::bigint[], $12::bytea[], $13::bytea[], $14::bytea[],
        $15::text[], $16::bigint[], $17::text[]
    ) as raw (
        id, task, args, queue, priority, at, delay, expires_at, expires_in, attempts_max, policy,
        tags, meta, tenant, cost, gates_text
    )
    where exists (select from made)
), placed as materialized (
    -- Else the look at the gates would be carried out for each column that asks for it.
    select j.*, case when j.starts_at <= {now} then {known_shut} end as waits_at
    from (select *, gates_text::jsonb as gates from given) as j
), stored as (
    insert into {p}jobs (
        id, task, args, queue, priority, state, created_at, run_at, expires_at, attempts_max,
        policy, tags, meta, tenant, cost, gates, waits_at, reason, tag
    )
    select id, task, args, queue, priority,
        case when starts_at > {now} then 'scheduled' when waits_at is null then 'ready'
            else 'blocked' end,
        {now}, starts_at, coalesce({now} + expires_in, expires_at), attempts_max, policy, tags,
        meta, tenant, cost, gates, waits_at, case when waits_at is not null then 'gate' end,
        {new_turn}
    from placed j
    on conflict (id) do nothing
    returning id, state, waits_at, gates
), parked_at as (
    select p.waits_at as name, min({cost_there}) as cost
    from stored p where p.waits_at is not null group by 1
), {looking}
select made_at, s.id, s.state from made left join stored s on s.state = 'blocked';

-- name: enqueue_inside_gated
-- As enqueue_inside, for jobs with gates. None is parked here: the lock of a gate must not be held
-- for as long as a caller likes.
with made as (
    select $17::bigint as made_at
    where exists (select from {p}meta where key = 'identity' and value = $1::text)
), stored as (
    insert into {p}jobs (
        id, task, args, queue, priority, state, created_at, run_at, expires_at, attempts_max,
        policy, tags, meta, tenant, cost, gates, tag
    )
    select id, task, args, queue, priority,
        case when coalesce(at, {now} + delay) > {now} then 'scheduled' else 'ready' end,
        {now}, coalesce(at, {now} + delay), coalesce({now} + expires_in, expires_at),
        attempts_max, policy, tags, meta, tenant, cost, gates_text::jsonb, {new_turn}
    from unnest(
        $2::uuid[], $3::text[], $4::bytea[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[],
        $9::bigint[], $10::bigint[], $11::bigint[], $12::bytea[], $13::bytea[], $14::bytea[],
        $15::text[], $16::bigint[], $18::text[]
    ) as j (
        id, task, args, queue, priority, at, delay, expires_at, expires_in, attempts_max, policy,
        tags, meta, tenant, cost, gates_text
    )
    where exists (select from made)
)
select made_at from made;

-- name: give_gates
-- After a batch with keys, for those of its jobs that have none and were stored just now.
update {p}jobs j set gates = g.gates_text::jsonb
from unnest($1::uuid[], $2::text[]) as g (id, gates_text)
where {is_made} and j.id between g.id and g.id
    and j.gates is null and j.key is null and j.number = 0
    and j.state || '' in ('ready', 'scheduled');
