-- Called by: every verb that parks jobs, after it has, in one transaction. Rides jobs_full, which
-- holds only jobs that do not simply wait. Whoever parks such jobs has locked the gates, so of two
-- newer jobs one sees the other.

-- name: says_full
jsonb_path_exists(j.gates, '$[*] ? (@.on_full == "skip" || @.on_full == "replace")')

-- name: ending_full
-- After a CTE names (name, says): ends jobs that find no place and say `skip`, and of those that
-- say `replace` all but the newest. Answers who ended. While a gate is shut those that say `skip`
-- wait: where all that have come just now do, none of those that are there need be read.
met as (
    select n.name, coalesce(g.shut_until > {now}, false) as is_shut
    from (select distinct name, says from names) as n left join {p}gates g on g.name = n.name
    where n.says is distinct from 'skip' or g.shut_until is null or g.shut_until <= {now}
), seen as (
    select j.id, w.on_full, m.is_shut, first_value(j.id) over (
        partition by j.waits_at, w.on_full order by j.id desc
    ) as newest
    from met m cross join lateral (
        -- The limit keeps this a look for each gate: else all that wait might be read first.
        select j.id, j.gates, j.waits_at from {p}jobs j
        where j.state = 'blocked' and j.number = 0 and j.waits_at is not null and {says_full}
            and j.waits_at = m.name
        limit 1000000
    ) as j cross join lateral jsonb_to_recordset(j.gates) as w (name text, on_full text)
    where w.name = j.waits_at
), over as (
    select id, case when on_full = 'skip' then {no_place} else {replaced_by} || newest end
        as why
    from seen
    where (on_full = 'skip' and not is_shut) or (on_full = 'replace' and id <> newest)
), found as (
    select j.id, over.why from over join {p}jobs j on j.id between over.id and over.id
    where j.state || '' = 'blocked' for update of j skip locked
), gone as (
    delete from {p}jobs j using found where j.id between found.id and found.id
    returning j.*, found.why
), kept as (
    insert into {p}rest (
        {body}, error, waits_at, state, outcome, reason, finished_at, keep_until
    )
    select {body}, error, waits_at, 'cancelled', 'cancelled', why, {now}, {keep_unrun} from gone j
    returning queue, state
), {counted}, leaving as (
    select id, array['claim', 'end', 'record'] as kinds from gone where key is not null
), {freed}
select id from gone;

-- name: end_full
-- $1: the gates, $2: what the jobs that have come just now say there, nothing where that differs.
with names as (
    select name, nullif(says, '') as says from unnest($1::text[], $2::text[]) as n (name, says)
), {ending_full};

-- name: end_staged
-- After stage, for the gates at which it has parked such jobs, and which it has locked.
with names as (
    select unnest(current_setting('treadle.parked', true)::text[]) as name, null::text as says
), {ending_full};

-- name: lock_again
-- Before jobs that became ready are parked: all gates that they may be parked at, where one of them
-- does not simply wait.
select 1 from {p}gates g
where g.name in (
    select w.name from {p}jobs j cross join lateral jsonb_to_recordset(j.gates) as w (name text)
    where j.id = any($1::uuid[]) and j.gates is not null
) and exists (
    select from {p}jobs j where j.id = any($1::uuid[]) and j.gates is not null and {says_full}
)
order by g.name for no key update of g;

-- name: end_again
-- For jobs that became ready and were parked.
with names as (
    select waits_at as name, null::text as says from {p}jobs
    where id = any($1::uuid[]) and state || '' = 'blocked' and waits_at is not null
), {ending_full};
