-- Called by: enqueue with keys; settle, claim, cancel, retry, purge, discard, stage and prune for
-- jobs that have one; keys. The row of a key decides between those who want it, and is locked by
-- name, in the order of names. Whoever holds the row of a key waits for no row of a job: those
-- that he cannot have at once are being ended or claimed, and he takes them for running. Only who
-- wants a key waits for its row, which a caller's transaction may lock for as long as it likes: an
-- end passes over it, and the key is left to a job that does not hold it (is_left).

-- name: is_made
current_setting('treadle.made', true) <> ''

-- name: request_keyed
-- First in a batch with keys: a request that was made before does nothing, in all that follows.
with made as (
    insert into {p}requests (id, made_at) values ($1::uuid, {now})
    on conflict (id) do nothing returning made_at
)
select made_at from (
    select set_config('treadle.made', coalesce((select made_at from made)::text, ''), true) as said
) as marked cross join made where said <> '';

-- name: store_unkeyed
with made as (select 1 where {is_made} and $1::uuid is not null), {stored}
select 1 from made;

-- name: request_said
select made_at, fates from {p}requests where id = $1::uuid;

-- name: is_free
(k.job is null or (k.until = 'time' and coalesce(k.until_at <= {now}, false)))

-- name: is_untaken
-- Nobody holds the key, and nobody waits for it: whoever asks may have it.
({is_free} and k.next is null)

-- name: is_left
-- The holder has ended, or begun, and could not free the key. Of a row that was waited for only a
-- statement after that may ask, as only that sees the jobs which came with it. Asked one by one,
-- by id: with `exists` a plan could read whole tables.
(k.job is not null and k.until <> 'time' and (
    select true from {p}jobs j
    where j.id = k.job and (k.until <> 'claim' or j.state <> 'running') limit 1
) is null and not (k.until = 'record' and (
    select true from {p}history h where h.id = k.job and h.state = 'succeeded' limit 1
) is not null))

-- name: heir
-- Who waits behind k, and how long it holds the key once it has it: k may be held for a time.
f.id as heir, f.key_until as until
from {p}keys k
left join lateral (select id, key_until from {p}jobs where id = k.next limit 1) as f on true

-- name: take_keys
-- Locks each row in the order of names, and waits for who has just inserted one.
insert into {p}keys as k (name, job, until, until_at, hash)
select g.name, g.id, g.until, case when g.until = 'time' then {now} + g.hold end, g.hash
from unnest($1::text[], $2::uuid[], $3::text[], $4::bigint[], $5::bytea[])
    as g (name, id, until, hold, hash)
where {is_made} and (select true from {p}records r where r.id = g.id limit 1) is null
order by g.name
on conflict (name) do update set
    job = case when {is_untaken} then excluded.job else k.job end,
    until = case when {is_untaken} then excluded.until else k.until end,
    until_at = case when {is_untaken} then excluded.until_at else k.until_at end,
    hash = case when {is_untaken} then excluded.hash else k.hash end,
    loose = k.loose and not {is_untaken};

-- name: take_left
-- After take_keys, with its rows locked: a key that was left, or whose time is over, goes to the
-- job that waits behind it, which stage wakes, else to the one that wants it.
with abandoned as materialized (
    select k.name, {heir}
    where k.name = any($1::text[]) and k.job <> all($2::uuid[]) and ({is_left} or {is_free})
)
update {p}keys k set
    job = coalesce(a.heir, g.id), next = null, loose = a.heir is not null,
    until = case when a.heir is null then g.until else coalesce(a.until, k.until) end,
    until_at = case when a.heir is null and g.until = 'time' then {now} + g.hold end,
    hash = case when a.heir is null then g.hash else k.hash end
from abandoned a join unnest($1::text[], $2::uuid[], $3::text[], $4::bigint[], $5::bytea[])
    as g (name, id, until, hold, hash) on g.name = a.name
where k.name = a.name and {is_made}
    and (select true from {p}records r where r.id = g.id limit 1) is null;

-- name: store_keyed
-- After take_left, with the rows of take_keys locked. One row of answer for each job that is not
-- simply stored.
with given as (
    select * from unnest(
        $2::uuid[], $3::text[], $4::bytea[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[],
        $9::bigint[], $10::bigint[], $11::bigint[], $12::bytea[], $13::bytea[], $14::bytea[],
        $15::text[], $16::bigint[], $17::text[], $18::text[], $19::bytea[], $20::text[],
        $21::bigint[], $22::bigint[], $23::text[]
    ) as given (
        id, task, args, queue, priority, at, delay, expires_at, expires_in, attempts_max, policy,
        tags, meta, tenant, cost, key, key_until, key_hash, conflict, max_wait, place, gates_text
    )
    where {is_made}
), fresh as (
    select g.*, k.job as holder, k.next, k.hash as held_hash
    from given g join {p}keys k on k.name = g.key
    where (select true from {p}records r where r.id = g.id limit 1) is null
), judged as (
    select f.*, case
        when f.holder = f.id then 'stored'
        when f.key_hash is distinct from f.held_hash or f.conflict = 'refuse' then 'refused'
        when f.conflict = 'replace' then 'replaced'
        else 'kept' end as how
    from fresh f
), waiting as (
    -- One that is parked at a gate is ready with its new values, and meets its gates anew.
    select j.id, case when j.waits_at is null then j.state else 'ready' end as state,
        j.created_at, j.attempt, f.place
    from judged f
    join {p}jobs j on j.id between coalesce(f.next, f.holder) and coalesce(f.next, f.holder)
    where f.how = 'replaced' and (
        j.state in ('ready', 'scheduled', 'retrying')
        or (j.state = 'blocked' and (j.reason = 'key' or j.waits_at is not null))
    )
    for update of j skip locked
), timed as (
    select w.id, w.state, w.attempt, g.*, least(
        coalesce(g.at, {now} + g.delay), w.created_at + g.max_wait
    ) as due
    from waiting w join given as g (
        new_id, task, args, queue, priority, at, delay, expires_at, expires_in, attempts_max,
        policy, tags, meta, tenant, cost, key, key_until, key_hash, conflict, max_wait, place
    ) on g.place = w.place
), changed as (
    update {p}jobs j set
        task = t.task, args = t.args, queue = t.queue, priority = t.priority, run_at = t.due,
        state = case when t.state = 'blocked' then 'blocked'
            when t.due > {now} then 'scheduled' else 'ready' end,
        reason = case when t.state = 'blocked' then j.reason end,
        expires_at = coalesce({now} + t.expires_in, t.expires_at),
        attempts_max = t.attempts_max, policy = t.policy, tags = t.tags, meta = t.meta,
        tenant = t.tenant, cost = t.cost, key_until = t.key_until, forgiven = t.attempt,
        gates = t.gates_text::jsonb, waits_at = null,
        tag = case when t.tenant is null then 0 else {untagged} end,
        crashes = 0, parked_at = null, error = null
    from timed t where j.id between t.id and t.id
    returning j.id, j.state, t.place
), behind as (
    select f.* from judged f
    where f.how = 'replaced' and not exists (select from waiting w where w.place = f.place)
), queued as (
    update {p}keys k set next = b.id from behind b where k.name = b.key
), stored as (
    insert into {p}jobs (
        id, task, args, queue, priority, state, created_at, run_at, expires_at, attempts_max,
        policy, tags, meta, tenant, cost, key, key_until, key_hash, reason, gates, tag
    )
    select id, task, args, queue, priority,
        case when how = 'replaced' then 'blocked'
            when coalesce(at, {now} + delay) > {now} then 'scheduled' else 'ready' end,
        {now}, coalesce(at, {now} + delay), coalesce({now} + expires_in, expires_at),
        attempts_max, policy, tags, meta, tenant, cost, key, key_until, key_hash,
        case when how = 'replaced' then 'key' end, gates_text::jsonb, {new_turn}
    from judged j
    where how = 'stored' or exists (select from behind b where b.place = j.place)
), fates as (
    select place, how, holder as job, coalesce(
        (select state from {p}records r where r.id = f.holder order by r.number desc limit 1),
        'succeeded'
    ) as state
    from judged f where how in ('kept', 'refused')
    union all
    select place, 'replaced', id, state from changed
    union all
    select place, 'stored', id, 'blocked' from behind
), noted as (
    update {p}requests r set fates = coalesce(r.fates, '') || said.lines
    from (
        select string_agg(concat_ws(' ', place, how, job, state) || E'\n', '') as lines from fates
    ) as said
    where said.lines is not null and r.id = $1::uuid
)
select place, how, job, state from fates;

-- name: met_gates
-- Last in a batch with keys: tells of those of its jobs that a gate has kept from being ready.
with met as (
    select g.place, g.id, (
        select r.state from {p}records r where r.id = g.id order by r.number desc limit 1
    ) as state
    from unnest($2::uuid[], $3::bigint[]) as g (id, place) where {is_made}
), kept as (
    select place, id, state from met where state in ('blocked', 'cancelled')
), noted as (
    update {p}requests r set fates = coalesce(r.fates, '') || said.lines
    from (
        select string_agg(concat_ws(' ', place, 'stored', id, state) || E'\n', '') as lines
        from kept
    ) as said
    where said.lines is not null and r.id = $1::uuid
)
select place, 'stored', id, state from kept;

-- name: free_ended
-- Called after whatever ends or deletes jobs that are named. A job that is still live holds its
-- key; what a success frees is less than what another end does.
with leaving as (
    select g.id, case when exists (
        select from {p}keys k where k.job = g.id and k.until = 'record'
    ) then case when exists (
        select from {p}history h where h.id = g.id and h.state = 'succeeded'
    ) then array['claim', 'end'] else array['claim', 'end', 'record'] end
    else array['claim', 'end', 'record'] end as kinds
    from unnest($1::uuid[]) as g (id)
    where (select true from {p}jobs j where j.id = g.id limit 1) is null
), {freed}
select 1 from freed;

-- name: freed
-- Each of these takes effect on the row as it is once it is locked, whatever was read of it before.
-- What somebody else has locked is left; see is_left.
keyed as (
    select found.name, array_agg(found.id) as ids from (
        select k.name, l.id from leaving l join {p}keys k on k.job = l.id
        where k.until = any(l.kinds)
        union all
        select k.name, l.id from leaving l join {p}keys k on k.next = l.id
        where l.kinds <> array['claim']
    ) as found group by found.name
), locked as (
    select k.name, keyed.ids from keyed join {p}keys k on k.name = keyed.name
    order by k.name for update of k skip locked
), freed as (
    update {p}keys k set
        job = case when k.job <> all(l.ids) then k.job
            when k.next = any(l.ids) then null else k.next end,
        next = case when k.job = any(l.ids) or k.next = any(l.ids) then null else k.next end,
        loose = k.loose or k.job = any(l.ids)
    from locked l where k.name = l.name
    returning 1
)

-- name: free_left
-- Before the hand_on of stage: gives a key that was left to who waits behind it. A row that has
-- changed since it was read (xmin) may be held again, by a dead letter that was put back.
with abandoned as materialized (
    select k.name, k.xmin as version from {p}keys k where k.next is not null and {is_left}
    order by k.name limit 1000
), locked as (
    select k.name from abandoned a join {p}keys k on k.name = a.name and k.xmin = a.version
    order by k.name for update of k skip locked
)
update {p}keys k set job = k.next, next = null, loose = true from locked l where k.name = l.name;

-- name: hand_on
-- Called after keys were freed, in the same transaction, and by stage for what was freed beside a
-- claim: wakes who waited behind, and deletes the rows of keys that nobody holds. A job whose row
-- is locked is being ended; should it not be, the next stage wakes it.
with loose as (
    select name, job from {p}keys where loose order by name limit 1000 for update skip locked
), behind as (
    select j.id from loose l join {p}jobs j on j.id between l.job and l.job
    where j.state = 'blocked' order by l.job for update of j skip locked
), woken as (
    update {p}jobs j set
        state = case when j.run_at > {now} then 'scheduled' else 'ready' end, reason = null
    from behind b where j.id between b.id and b.id
    returning j.id, j.key_until
), held as (
    update {p}keys k set loose = false, until = coalesce(w.key_until, k.until), until_at = null,
        hash = null
    from loose l join woken w on w.id = l.job where k.name = l.name
), gone as (
    delete from {p}keys k using loose l
    where k.name = l.name and not exists (
        select from {p}jobs j where j.id between l.job and l.job and j.state = 'blocked'
    )
)
select count(*) from woken;

-- name: lock_ended
-- Before retake_keys: whoever ends or deletes a job locks its row before that of its key.
select id from {p}history where id = any($1::uuid[]) order by id for update;

-- name: wanted_again
select distinct on (h.key) h.key, h.id, h.key_until, h.key_hash
from {p}history h
where h.id = any($1::uuid[]) and h.state in ('failed', 'cancelled', 'expired')
    and h.key is not null and h.key_until <> 'time'
    and (select true from {p}jobs j where j.id = h.id limit 1) is null
order by h.key, h.id

-- name: retake_keys
-- Before retry_ended: a job that is put back takes its key again, the oldest of each name.
insert into {p}keys as k (name, job, until, hash)
{wanted_again}
on conflict (name) do update set
    job = case when {is_untaken} then excluded.job else k.job end,
    until = case when {is_untaken} then excluded.until else k.until end,
    until_at = case when {is_untaken} then null else k.until_at end,
    hash = case when {is_untaken} then excluded.hash else k.hash end,
    loose = k.loose and not {is_untaken};

-- name: retake_left
-- After retake_keys, with its rows locked: a key that was left goes as in take_left.
with abandoned as materialized (
    select k.name, {heir}
    where k.name in (select h.key from {p}history h where h.id = any($1::uuid[]))
        and k.job <> all($1::uuid[]) and ({is_left} or {is_free})
), wanted as (
    {wanted_again}
)
update {p}keys k set
    job = coalesce(a.heir, w.id), next = null, loose = a.heir is not null, until_at = null,
    until = case when a.heir is null then w.key_until else coalesce(a.until, k.until) end,
    hash = case when a.heir is null then w.key_hash else k.hash end
from abandoned a join wanted w on w.key = a.name
where k.name = a.name;

-- name: may_run
(h.key is null or h.key_until = 'time' or exists (
    select from {p}keys k where k.name = h.key and k.job = h.id
))

-- name: keys_over
update {p}keys k set job = k.next, next = null, loose = true
from (
    select name from {p}keys where until_at is not null and until_at <= {now}
    order by until_at limit $1::bigint for update skip locked
) as over
where k.name = over.name;

-- name: sweep
-- Frees the keys of a page by name whose job does not hold them: one that somebody has deleted by
-- hand, that a worker without keys has ended, or that was left. Answers the last name, and how
-- many there were.
with page as (
    select k.name, k.job, k.until, k.xmin as version
    from {p}keys k where k.name > $1::text order by k.name
    limit $2::bigint
), asked as materialized (
    select array(select job from page where until = 'record') as ids
), remembered as materialized (
    select id from {p}history
    where id = any ((select ids from asked)::uuid[]) and state = 'succeeded'
), dead as (
    select p.name, p.version from page p
    where p.until <> 'time' and p.job is not null and (
        select true from {p}jobs j
        where j.id = p.job and (p.until <> 'claim' or j.state <> 'running') limit 1
    ) is null and not (p.until = 'record' and p.job = any (array(select id from remembered)))
), locked as (
    select k.name from dead d join {p}keys k on k.name = d.name and k.xmin = d.version
    order by k.name for update of k skip locked
), freed as (
    update {p}keys k set job = k.next, next = null, loose = true
    from locked l where k.name = l.name
)
select max(name), count(*) from page;

-- name: keys
select name, case when {is_left} then next else job end, until, until_at,
    case when not {is_left} then next end
from {p}keys k
where name = any($1::text[]) and not {is_free} and (next is not null or not {is_left});
