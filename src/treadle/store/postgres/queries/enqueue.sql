-- Called by: enqueue, enqueue_now. Rides the primary keys; any number may run at once. The row
-- in requests makes a batch that is sent again, in whatever race, change nothing.

-- name: insert_queues
insert into {p}queues (name) select unnest($1::text[]) on conflict (name) do nothing;

-- The first try goes without "on conflict", which costs a fifth: only ids that are stored under
-- another request make it fail, and then the batch is sent with it.

-- name: enqueue
with made as (
    insert into {p}requests (id, made_at) values ($1::uuid, {now})
    on conflict (id) do nothing returning made_at
), {stored}
select made_at from made;

-- name: enqueue_inside
-- Called by: transactional, on a connection of the caller's. Answers nothing, and stores nothing,
-- where that is open on another database than the store's.
with made as (
    select $17::bigint as made_at
    where exists (select from {p}meta where key = 'identity' and value = $1::text)
), {stored}
select made_at from made;

-- name: is_ours
-- Called by: transactional, before a task's own connection is used.
select 1 from {p}meta where key = 'identity' and value = $1::text;

-- name: stored
stored as (
    insert into {p}jobs (
        id, task, args, queue, priority, state, created_at, run_at, expires_at, attempts_max,
        policy, tags, meta, tenant, cost, tag
    )
    select id, task, args, queue, priority,
        case when coalesce(at, {now} + delay) > {now} then 'scheduled' else 'ready' end,
        {now}, coalesce(at, {now} + delay), coalesce({now} + expires_in, expires_at),
        attempts_max, policy, tags, meta, tenant, cost, {new_turn}
    from unnest(
        $2::uuid[], $3::text[], $4::bytea[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[],
        $9::bigint[], $10::bigint[], $11::bigint[], $12::bytea[], $13::bytea[], $14::bytea[],
        $15::text[], $16::bigint[]
    ) as j (
        id, task, args, queue, priority, at, delay, expires_at, expires_in, attempts_max, policy,
        tags, meta, tenant, cost
    )
    where exists (select from made)
    {again}
)

-- name: made_at
select made_at from {p}requests where id = $1::uuid;
