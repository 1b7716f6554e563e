-- Called by: stage and prune, by any worker at any time. Each statement is bounded by a limit,
-- skips what others have locked and rides a partial index that holds only what it looks for:
-- jobs_due, jobs_expiring, jobs_parked, history_over.

-- name: stage
with late as (
    delete from {p}jobs j using (
        select id from {p}jobs
        where expires_at is not null and state in ('ready', 'scheduled', 'retrying', 'blocked')
            and expires_at <= {now}
        order by expires_at limit $1::bigint for update skip locked
    ) as found
    where j.id = found.id
    returning j.*
), late_kept as (
    insert into {p}history (
        {body}, error, state, outcome, reason, finished_at, keep_until
    )
    select {body}, error, 'expired', 'expired', 'expired', {now}, {keep_unrun} from late j
), due as (
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
    where j.id = found.id
    returning j.waits_at
), parked_at as (
    select distinct waits_at as name from due where waits_at is not null
), {looking}, parked as (
    update {p}jobs j set state = 'ready', reason = null, run_at = {now}
    from (
        select id from {p}jobs
        where reason = 'unknown_task' and state = 'scheduled' and task = any($2::text[])
            and run_at > {now} and (expires_at is null or expires_at > {now})
        limit $1::bigint - (select count(*) from late) - (select count(*) from due)
        for update skip locked
    ) as found
    where j.id = found.id
    returning 1
)
select (select count(*) from late), (select count(*) from due) + (select count(*) from parked);

-- name: prune
with over as (
    select id, number from {p}history where keep_until <= {now}
    order by keep_until limit $1::bigint for update skip locked
), gone as (
    delete from {p}history h using over where h.id = over.id and h.number = over.number
    returning h.id
), attempts_gone as (
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
