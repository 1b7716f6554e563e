-- Called by: stage and prune, by any worker at any time. Each statement is bounded by a limit,
-- skips what others have locked and rides a partial index that holds only what it looks for:
-- jobs_due, jobs_expiring, jobs_parked, rest_over and dead_over. A shelf that is pruned by rows has
-- few of them.

-- name: stage
with late as (
    delete from {p}jobs j using (
        select id from {p}jobs
        where expires_at is not null and state in ('ready', 'scheduled', 'retrying', 'blocked')
            and expires_at <= {now}
        order by expires_at limit $1::bigint for update skip locked
    ) as found
    where j.id between found.id and found.id
    returning j.*
), {late_kept}, leaving as (
    select id, array['claim', 'end', 'record'] as kinds from late where key is not null
), {freed}, due as (
    update {p}jobs j set state = case when found.at is null then 'ready' else 'blocked' end,
        reason = case when found.at is not null then 'gate' end, waits_at = found.at
    from (
        select j.id, {known_shut} as at from (
            select id, gates from {p}jobs
            where state in ('scheduled', 'retrying') and run_at <= {now}
                and (expires_at is null or expires_at > {now})
            order by run_at limit $1::bigint - (select count(*) from late) for update skip locked
        ) as j
    ) as found
    where j.id between found.id and found.id
    returning j.waits_at, j.gates
), parked_at as (
    select p.waits_at as name, min({cost_there}) as cost
    from due p where p.waits_at is not null group by 1
), full_at as (
    -- Of two stages that park jobs which do not simply wait the second one waits here, and sees
    -- then whom the first one parked. All gates at once, as `looked` comes to more of them.
    select g.name from {p}gates g join parked_at w on w.name = g.name
    where exists (select from due j where j.waits_at is not null and {says_full})
    order by g.name for no key update of g
), {looking}, parked as (
    update {p}jobs j set state = 'ready', reason = null, run_at = {now}
    from (
        select id from {p}jobs
        where reason = 'unknown_task' and state = 'scheduled' and task = any($2::text[])
            and run_at > {now} and (expires_at is null or expires_at > {now})
        limit $1::bigint - (select count(*) from late) - (select count(*) from due)
        for update skip locked
    ) as found
    where j.id between found.id and found.id
    returning 1
)
select (select count(*) from late), (select count(*) from due) + (select count(*) from parked),
    set_config('treadle.parked', coalesce(
        (select array_agg(name)::text from full_at), '{}'
    ), true);

-- name: prune
with over as (
    select id, number from {p}{shelf} where keep_until <= {now}
    order by keep_until limit $1::bigint for update skip locked
), gone as (
    delete from {p}{shelf} h using over where h.id = over.id and h.number = over.number
    returning h.id, h.key, h.queue, h.state, h.tableoid as place
), {uncounted}, leaving as (
    select id, array['claim', 'end', 'record'] as kinds from gone
    where key is not null and not exists (select from {p}jobs j where j.id = gone.id)
), {freed}, attempts_gone as (
    delete from {p}attempts where job in (select id from gone)
), logs_gone as (
    delete from {p}logs where job in (select id from gone)
)
select count(*) from gone;

-- name: prune_requests
delete from {p}requests where id in (
    select id from {p}requests where made_at <= {now} - 3600000000
    order by made_at limit $1::bigint for update skip locked
);

-- name: shelves
-- Every shelf, and whether this user may write into it and drop it. Its size only where some of it
-- is over: who asks for the size of one that is being dropped waits.
select s.name, s.since, s.until,
    coalesce(case when {now} >= s.since and {now} < s.until then pg_relation_size(c.oid) end, 0),
    coalesce(has_table_privilege(c.oid, 'insert'), false),
    c.oid is null or pg_has_role(c.relowner, 'usage')
from {p}shelves s left join pg_class c on c.oid = to_regclass('{p}' || s.name);

-- name: hurry
-- Before a table is made or dropped: who waits for its lock holds others up behind it.
select set_config('lock_timeout', $1::text, true);

-- name: lock_shelves
select 1 from (select pg_advisory_xact_lock($1::bigint)) as locked;

-- name: try_lock_shelves
-- Whoever makes a shelf is not waited for: what is settled meanwhile has `rest`.
select pg_try_advisory_xact_lock($1::bigint);

-- name: make_shelf
-- What is dropped whole in the end is not worth vacuuming before.
create table {p}{shelf} (check (keep_until < {until})) inherits ({p}history)
with (autovacuum_vacuum_insert_threshold = -1);

-- name: index_shelf
create index on {p}{shelf} (id);

-- name: note_shelves
insert into {p}shelves (name, since, until)
select * from unnest($1::text[], $2::bigint[], $3::bigint[]);

-- name: drop_shelf
drop table if exists {p}{shelf};

-- name: forget_shelf
with summed as (delete from {p}totals where shelf = $1::text returning jobs),
single as (delete from {p}counted where shelf = $1::text returning jobs),
gone as (delete from {p}shelves where name = $1::text)
select coalesce(sum(jobs), 0)::bigint
from (select jobs from summed union all select jobs from single) as counts;

-- name: add_up
-- One session at a time, and never while a shelf is dropped, whose counts go with it.
with alone as materialized (
    select pg_try_advisory_xact_lock($2::bigint) as is_mine
    where exists (select from {p}counted offset 499)
), gone as (
    delete from {p}counted where ctid = any (array(
        select c.ctid from {p}counted c where (select is_mine from alone)
        limit $1::bigint for update skip locked
    ))
    returning shelf, queue, state, jobs
)
insert into {p}totals as t (shelf, queue, state, jobs)
select shelf, queue, state, sum(jobs) from gone group by shelf, queue, state
on conflict (shelf, queue, state) do update set jobs = t.jobs + excluded.jobs;

-- name: sweep_attempts
-- Attempts of jobs that went with a shelf, a page at a time; not those of the last hour, so that
-- a job that is just moving is left alone.
with page as materialized (
    select ctid as place, job, claim as line, finished_at as at from {p}attempts
    where (job, claim) > ($1::uuid, $2::bigint) order by job, claim limit $3::bigint
), {known}, gone as (
    delete from {p}attempts where ctid = any (array({orphans})) returning 1
) {swept};

-- name: sweep_logs
with page as materialized (
    select ctid as place, job, line, at from {p}logs
    where (job, line) > ($1::uuid, $2::bigint) order by job, line limit $3::bigint
), {known}, gone as (
    delete from {p}logs where ctid = any (array({orphans})) returning 1
) {swept};

-- name: known
asked as materialized (select array(select distinct job from page) as ids),
known as materialized (
    select id from {p}jobs where id = any ((select ids from asked)::uuid[])
    union all
    select id from {p}history where id = any ((select ids from asked)::uuid[])
)

-- name: orphans
select place from page
where coalesce(at, 0) < {now} - 3600000000 and job <> all (array(select id from known))

-- name: swept
select job, line, (select count(*) from gone) from page order by job desc, line desc limit 1
