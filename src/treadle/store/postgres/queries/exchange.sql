-- Called by: exchange, in one transaction: settle, then claim. Settling rides the primary key
-- and is fenced by the claim number; claiming rides jobs_ready and skips what others have locked,
-- so no two workers can claim one job. The worker's row is locked first, here as in rescue.

-- name: last_request
select request, claim_ids, claim_numbers, lost_in, lost, {is_gated} from {p}workers
where id = $1::text;

-- name: lock_worker
select request, claim_ids, claim_numbers, lost_in, lost, {is_gated} from {p}workers
where id = $1::text for no key update;

-- name: is_gated
-- Whether any ready job has gates, by an index that holds only those, or any task is paused.
(exists (select from {p}jobs j where j.state = 'ready' and j.gates is not null)
    or exists ({paused_tasks}))

-- name: paused_tasks
-- A task is paused by its gate, which its jobs do not carry. Mostly there is none.
select substr(g.name, 6) from {p}gates g
where g.name >= 'task:' and g.name < 'task;' and g.shut_until > {now}

-- name: plain
-- The jobs that meet no gate: those that carry none, and whose task is not paused.
gates is null and task <> all (array({paused_tasks}))

-- name: is_repeat
exists (select from {p}workers w where w.id = $1::text and w.request = $2::uuid)

-- name: note_lost
late as (
    select array_agg(g.place) as places from given g
    where (select count(*) from gone) < (select count(*) from given)
        and not exists (select from gone where gone.place = g.place)
), noted as (
    update {p}workers w set lost_in = $2::uuid,
        lost = case when lost_in = $2::uuid then w.lost || late.places else late.places end
    from late
    where late.places is not null and w.id = $1::text and w.request is distinct from $2::uuid
)

-- name: succeeding
given as (
    select * from unnest(
        $3::uuid[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bytea[]
    ) as g (id, number, place, keep, new_ran, new_result)
), gone as (
    delete from {p}jobs j using given g
    where j.id between g.id and g.id and j.number = g.number and {runs} and not {is_repeat}
    returning j.*, g.new_result, g.keep, g.new_ran, g.place
), kept as (
    insert into {p}{shelf} (
        {body}, state, outcome, result, finished_at, keep_until, ran
    )
    select {body}, 'succeeded', 'succeeded', new_result, {now},
        greatest({now} + keep, created_at + 3600000000), new_ran
    from gone returning queue, state
), {counted}, {note_lost}

-- name: settle_succeeded
with {succeeding}
select place from gone;

-- name: settle_inside
-- Called by: transactional, in the transaction of the task's own writes.
with gone as (
    delete from {p}jobs j where j.id = $1::uuid and j.number = $2::bigint and {runs} returning j.*
), kept as (
    insert into {p}{shelf} (
        {body}, state, outcome, result, finished_at, keep_until, ran
    )
    select {body}, 'succeeded', 'succeeded', $5::bytea, $6::bigint,
        greatest($6::bigint + $3::bigint, created_at + 3600000000), $4::bigint
    from gone returning queue, state
), {counted}
select id from gone;

-- name: settle_ended
with given as (
    select * from unnest(
        $3::uuid[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bytea[],
        $9::text[], $10::text[], $11::bigint[], $12::bytea[], $13::text[], $14::text[],
        $15::bigint[], $16::bigint[], $17::text[]
    ) as g (
        id, number, place, keep, ran, result, state, outcome, attempt, error, error_type, reason,
        forgiven, crashes, lost_by
    )
), gone as (
    delete from {p}jobs j using given g
    where j.id between g.id and g.id and j.number = g.number and {runs} and not {is_repeat}
    returning j.id, j.task, j.queue, j.priority, j.tag, j.number, g.attempt, g.forgiven, g.crashes,
        j.attempts_max, j.args, j.policy, j.created_at, j.run_at, j.expires_at,
        coalesce(g.lost_by, j.worker) as worker, j.started_at, j.tags, j.meta, j.tenant, j.cost,
        j.progress, j.key, j.key_until, j.key_hash, j.gates, g.state, g.outcome, g.result, g.error,
        g.error_type, g.reason, g.keep, g.ran, g.place
), kept as (
    insert into {p}{shelf} (
        {body}, state, outcome, result, error, error_type, reason, finished_at, keep_until, ran
    )
    select {body}, state, outcome, result, error, error_type, reason, {now},
        greatest({now} + keep, created_at + 3600000000), ran
    from gone returning queue, state
), {counted}, {note_lost}
select place from gone;

-- name: settle_waiting
with given as (
    select * from unnest(
        $3::uuid[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::text[],
        $9::text[], $10::bigint[], $11::bytea[], $12::text[], $13::bigint[], $14::bigint[],
        $15::text[]
    ) as g (
        id, number, place, delay, ran, state, outcome, attempt, error, reason, forgiven, crashes,
        lost_by
    )
), gone as (
    select j.id, j.number, j.attempt as was, coalesce(g.lost_by, j.worker) as worker, j.started_at,
        case when g.outcome = '' and g.delay = 0 then j.run_at else {now} + g.delay end as run_at,
        case when g.delay = 0 then 'ready' else g.state end as state,
        case when g.reason = 'unknown_task' then coalesce(j.parked_at, {now}) end as parked_at,
        coalesce(g.error, j.error) as last_error,
        g.attempt, g.outcome, g.error, g.reason, g.forgiven, g.crashes, g.ran, g.place
    from {p}jobs j join given g on j.id between g.id and g.id and g.number = j.number
    where {runs} and not {is_repeat}
    order by g.id for update of j
), recorded as (
    insert into {p}attempts (
        job, claim, attempt, worker, started_at, finished_at, outcome, error, ran
    )
    select id, number, was, worker, started_at, {now}, outcome, error, ran
    from gone where outcome <> ''
    on conflict (job, claim) do nothing
), moved as (
    update {p}jobs j set
        state = g.state, run_at = g.run_at, attempt = g.attempt, error = g.last_error,
        reason = g.reason, forgiven = g.forgiven, crashes = g.crashes, parked_at = g.parked_at,
        worker = null, started_at = null, lost_by = null,
        tag = case when g.outcome = '' then {same_turn} else {new_turn} end
    from gone g where j.id between g.id and g.id
), {note_lost}
select place from gone;

-- name: trim_attempts
delete from {p}attempts a using (
    select job, claim, row_number() over (partition by job order by claim desc) as place
    from {p}attempts where job = any($1::uuid[])
) old
where a.job = old.job and a.claim = old.claim and old.place > $2::bigint;

-- name: remember
update {p}workers set request = $2::uuid, claim_ids = null, claim_numbers = null
where id = $1::text and request is distinct from $2::uuid;

-- name: available
-- How much is ready, at most so many of each: what a demand of several queues is shared by.
select q.name, (
    select count(*) from (
        select 1 from {p}jobs j where j.state = 'ready' and j.queue = q.name limit $2::bigint
    ) as counted
)
from {p}queues q where q.name = any($1::text[]) and q.paused_at is null;

-- name: room_named
select r.name, r.n from unnest($4::text[], $5::bigint[]) as r (name, n)
where not exists (select from {p}queues q where q.name = r.name and q.paused_at is not null)

-- name: room_any
-- The best of all queues: where there are several, each gets as many as it has among the best.
select min(q.name), $4::bigint from {p}queues q where q.paused_at is null having count(*) = 1
union all
select best.name, count(*) from (
    select q.name from {p}queues q cross join lateral (
        select j.priority, j.tag, j.id from {p}jobs j
        where j.state = 'ready' and j.queue = q.name
        order by j.priority desc, j.tag, j.id limit $4::bigint
    ) as head
    where q.paused_at is null
        and (select count(*) from {p}queues o where o.paused_at is null) > 1
    order by head.priority desc, head.tag, head.id limit $4::bigint
) as best group by best.name

-- name: room_on
-- $9: every queue was asked for, so this one must be the only one that is open.
select $4::text, $5::bigint where (
    select count(*) filter (where q.name = $4::text) = 1
        and (not $9::boolean or count(*) = 1)
    from {p}queues q where q.paused_at is null
)

-- name: head
-- What is best in a piece of a queue, at most n; behind its mark the index is entered anew. Jobs
-- with gates are passed over, as in `pickable`.
(
    select j.priority, j.tag, j.id from {p}jobs j
    where p.tag is not null and j.state = 'ready' and j.queue = p.name and {plain}
        and j.priority = p.low and (j.tag, j.id) > (p.tag, p.id)
    order by j.tag, j.id limit room.n
) union all (
    select j.priority, j.tag, j.id from {p}jobs j
    where p.tag is null and j.state = 'ready' and j.queue = p.name and {plain}
        and j.priority >= p.low and j.priority <= p.high
    order by j.priority desc, j.tag, j.id limit room.n
)

-- name: is_open
exists (select from {p}queues q where q.name = p.name and q.paused_at is null)

-- name: available_marked
-- As `available`, behind the marks.
select p.name, count(*)
from unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::uuid[])
    as p (name, low, high, tag, id)
cross join (select $1::bigint as n) as room cross join lateral ({head}) as one
where {is_open} group by p.name;

-- name: picking_marked
-- Each room is shared out among its pieces by what is best in all of them; in the one room for
-- every queue ($5), those without a mark are pieces, too.
piece as (
    select p.* from unnest(
        $6::bigint[], $7::text[], $8::bigint[], $9::bigint[], $10::bigint[], $11::uuid[]
    ) with ordinality as p (room, name, low, high, tag, id, place)
    where {is_open}
    union all
    select 1, q.name, -32768, 32767, null, null, -row_number() over () from {p}queues q
    where $5::boolean and q.paused_at is null and q.name <> all ($7::text[])
), best as (
    select head.place, count(*) as n
    from unnest($4::bigint[]) with ordinality as room (n, number) cross join lateral (
        select p.place from piece p cross join lateral ({head}) as one
        where p.room = room.number
        order by one.priority desc, one.tag, one.id limit room.n
    ) as head
    group by head.place
), beyond as (
    select j.* from best cross join piece p cross join lateral (
        select id, expires_at from {p}jobs
        where state = 'ready' and queue = p.name and {plain} and priority = p.low
            and (tag, id) > (p.tag, p.id) and {untouched}
        order by tag, id limit best.n for update skip locked
    ) as j
    where p.place = best.place and p.tag is not null and {is_new}
), unmarked as (
    select j.* from best cross join piece p cross join lateral (
        select id, expires_at from {p}jobs
        where state = 'ready' and queue = p.name and {plain}
            and priority >= p.low and priority <= p.high and {untouched}
        order by priority desc, tag, id limit best.n for update skip locked
    ) as j
    where p.place = best.place and p.tag is null and {is_new}
), picked as (
    select id, coalesce(expires_at <= {now}, false) as is_late
    from (select * from beyond union all select * from unmarked) as j

-- name: is_new
exists (select from {p}workers w where w.id = $1::text and w.request is distinct from $2::uuid)

-- name: pickable
select id, expires_at from {p}jobs
where state = 'ready' and queue = room.name and {plain}

-- name: untouched
-- No other transaction has locked or claimed this row, as the row itself tells now, not when the
-- statement began. One that another has claimed since would be read anew, found to be running and
-- passed over, but it would stay locked until we commit, and its worker could not settle it.
-- A row that was locked before it was written has its own writer as its last one. Who was done with
-- a row before the statement began, and left it as it is, had only locked it, or was rolled back.
-- Claims beside gates lock and leave rows; without any gate a row is mostly another's just now, and
-- it is not asked who was done, which twenty workers on one queue would ask all the time.
(xmax = '0' or xmax = xmin
    or (select exists (select from {p}gates)) and coalesce({was_let_go}, false))

-- name: was_let_go
-- The row keeps 32 bits of a number: the last one with these that is not in the future is meant.
(select pg_visible_in_snapshot((p.next - p.ago)::text::xid8, pg_current_snapshot())
from (
    select s.next, (s.next - xmax::text::bigint) & 4294967295 as ago
    from (select pg_snapshot_xmax(pg_current_snapshot())::text::bigint as next) as s
) as p
where p.ago between 1 and least(p.next - 1, 2147483647))

-- name: picking
-- A thorough look takes rows that were touched as well, such as by a claim that is rolled back; so
-- does any that finds no others, unless it comes with a batch of settlements: where many workers
-- come to the end of a queue together, it would lock what the others settle just then. Such a one
-- is followed by another at once.
, fresh as (
    select j.* from room cross join lateral (
        {pickable} and ({untouched} or (select is_thorough from look))
        order by priority desc, tag, id limit room.n for update skip locked
    ) as j
    where {is_new}
), touched as (
    select j.* from room cross join lateral (
        {pickable}
        order by priority desc, tag, id
        limit case when exists (select from fresh) or $3::bigint >= 32 then 0 else room.n end
        for update skip locked
    ) as j
    where {is_new}
), picked as (
    select id, coalesce(expires_at <= {now}, false) as is_late
    from (select * from fresh union all select * from touched) as j

-- name: picking_on
-- Before the rows of one priority that were claimed, which may lie dead there for hours while some
-- session holds a transaction open, the index is entered behind them.
, above as (
    select j.* from room cross join lateral (
        {pickable} and {untouched} and priority > $6::bigint
        order by priority desc, tag, id limit room.n for update skip locked
    ) as j
    where {is_new}
), beyond as (
    select j.* from room cross join lateral (
        {pickable} and {untouched} and priority = $6::bigint and (tag, id) > ($7::bigint, $8::uuid)
        order by tag, id limit room.n - (select count(*) from above) for update skip locked
    ) as j
    where {is_new}
), below as (
    select j.* from room cross join lateral (
        {pickable} and {untouched} and priority < $6::bigint
        order by priority desc, tag, id
        limit room.n - (select count(*) from above) - (select count(*) from beyond)
        for update skip locked
    ) as j
    where {is_new}
), picked as (
    select id, coalesce(expires_at <= {now}, false) as is_late
    from (select * from above union all select * from beyond union all select * from below) as j

-- name: started
-- After the CTEs claimed and late: frees the keys that are held until a job has started, which the
-- key says and not the job, that may have new values, and all of those that came too late. And
-- remembers what this request claimed: asked again, it gives the same.
leaving as (
    select id, array['claim'] as kinds from claimed where key is not null
    union all
    select id, array['claim', 'end', 'record'] from late where key is not null
), {freed}, remembered as (
    update {p}workers set request = $2::uuid,
        claim_ids = (select array_agg(id) from claimed),
        claim_numbers = (select array_agg(number) from claimed)
    where id = $1::text and request is distinct from $2::uuid
        and ($3::bigint > 0 or exists (select from picked))
)

-- name: answered
-- What was claimed, and what came too late and has ended.
select {claim_row}, true from claimed
union all
select {claim_row}, false from late

-- name: claiming
), {taking}
    from picked where j.id between picked.id and picked.id and not picked.is_late
    returning j.*
), {started}
{answered}

-- name: claim_named
with room (name, n) as ({room_named}), look (is_thorough) as (select $6::boolean)
{picking} {claiming};

-- name: claim_on
with room (name, n) as ({room_on}) {picking_on} {claiming};

-- name: claim_marked
with {picking_marked} {claiming};

-- name: claim_any
with room (name, n) as ({room_any}), look (is_thorough) as (select $5::boolean)
{picking} {claiming};

-- name: next_due
select least(
    (select min(run_at) from {p}jobs where state in ('scheduled', 'retrying')),
    (select min(wake_at) from {p}gates where wake_at is not null)
);

-- name: any_ready
select exists ({open_ready} and ($1::text[] is null or q.name = any($1::text[])));

-- name: claims_again
select {claim_row} from {p}jobs where id = any($1::uuid[])
union all
select priority, tag, id, number, task, queue, attempt, args, attempts_max, forgiven, crashes,
    policy, created_at, run_at, expires_at, null, tags, meta, tenant, started_at, key,
    {gates_text}
from {p}history where id = any($1::uuid[]);
