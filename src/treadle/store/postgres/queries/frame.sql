-- Called by: every verb. Fragments that several statements share stand here, in braces there.

-- name: begin
-- First in each transaction: the store's now, and limits that hold for this transaction alone,
-- so that a pooler between us and the server hands nothing of them to its next client. Nor may
-- the planner weigh whether to read a whole table: with an unknown limit it would take a tenth of
-- the backlog to be claimed, and its figures are always of another minute than this one. With
-- that, plans do not hang on values, so that they are made once a connection and not each time.
-- Such a plan may have been made while the table had a page, where reading all of it is the best
-- way to find ten rows, and be kept for a backlog. So rows of jobs that are named by others are
-- joined by `between x and x`, which the server can look up in the index but not read in its order.
select case when set_config('statement_timeout', $2::text, true) is not null
    and set_config('lock_timeout', $3::text, true) is not null
    and {planning} then {now_is} end;

-- name: planning
set_config('jit', 'off', $4::boolean) is not null
    and set_config('plan_cache_mode', 'force_generic_plan', $4::boolean) is not null
    and set_config('enable_seqscan', 'off', $4::boolean) is not null
    and set_config('enable_bitmapscan', 'off', $4::boolean) is not null
    and set_config('enable_hashjoin', 'off', $4::boolean) is not null
    and set_config('enable_mergejoin', 'off', $4::boolean) is not null

-- name: now_is
set_config(
    'treadle.now',
    coalesce($1::bigint, (extract(epoch from clock_timestamp()) * 1000000)::bigint)::text, true
)::bigint

-- name: begin_own
-- The same on a connection of the server's own, whose session has been told how to plan.
select case when set_config('statement_timeout', $2::text, true) is not null
    and set_config('lock_timeout', $3::text, true) is not null
then {now_is} end;

-- name: read_whole
-- Called by: queues, dead_groups and prune, which read whole tables.
select set_config('enable_seqscan', 'on', true);

-- name: now
(select current_setting('treadle.now')::bigint)

-- name: runs
-- Where rows are named by id: written so that no planner takes jobs_running for them instead.
j.state || '' = 'running'

-- name: keep_unrun
greatest({now} + 2592000000000, j.created_at + 3600000000)

-- name: counted
counted as (
    insert into {p}counted (shelf, queue, state, jobs)
    select '{shelf}', queue, state, count(*) from kept group by queue, state
)

-- name: uncounted
uncounted as (
    insert into {p}counted (shelf, queue, state, jobs)
    select substr(c.relname, length('{i}') + 1), g.queue, g.state, -count(*)
    from gone g join pg_class c on c.oid = g.place group by c.relname, g.queue, g.state
)

-- name: late_kept
kept as (
    insert into {p}rest (
        {body}, error, waits_at, state, outcome, reason, finished_at, keep_until
    )
    select {body}, error, waits_at, 'expired', 'expired', 'expired', {now}, {keep_unrun} from late j
    returning queue, state
), {counted}

-- name: taking
-- Of what was picked: ends what came too late, and begins to take the rest; its rows come next.
late as (
    delete from {p}jobs j using picked where j.id between picked.id and picked.id and picked.is_late
    returning j.*
), {late_kept}, claimed as (
    update {p}jobs j set
        state = 'running', number = number + 1, attempt = attempt + 1, worker = $1::text,
        started_at = {now}, reason = null

-- name: body
id, task, queue, priority, tag, number, attempt, forgiven, crashes, attempts_max, args, policy,
created_at, run_at, expires_at, worker, started_at, tags, meta, tenant, cost, progress, key,
key_until, key_hash, gates

-- name: claim_head
priority, tag, id, number, task, queue, attempt, args, attempts_max, forgiven, crashes, policy,
created_at, run_at, expires_at, parked_at, tags, meta, tenant, started_at, key

-- name: gates_text
convert_to(gates::text, 'UTF8')

-- name: claim_row
{claim_head}, {gates_text}

-- name: record_row
id, task, queue, state, priority, attempt, number, args, created_at, run_at, {now}, attempts_max,
forgiven, crashes, policy, started_at, finished_at, expires_at, keep_until, worker, outcome,
case when state <> 'running' then reason end, error, result, tags, meta, tenant, progress, key,
{gates_text}, waits_at

-- name: real_now
(extract(epoch from clock_timestamp()) * 1000000)::bigint

-- name: ring
-- Called by: transactional, in the transaction of whoever writes. Tells those who listen, when
-- there are any. NOTIFY takes a lock on the whole database at its commit, so it is spared where
-- nobody would hear it.
select pg_notify('{channel}' || kind, '') from {p}ears
where kind = any($1::text[]) and until > {real_now};

-- name: ring_after
-- After a commit, in a transaction of its own. News that a crash takes away wake nobody whom the
-- crash has not cut off, so they do not wait for the disk: neither do those who hear them.
select pg_notify('{channel}' || kind, ''), set_config('synchronous_commit', 'off', true)
from {p}ears where kind = any($1::text[]) and until > {real_now};

-- name: unhurried
-- A mark that a crash takes away is made again a second later: no need to wait for the disk.
select set_config('synchronous_commit', 'off', true);

-- name: listen
-- Called by: the listener, while somebody waits. Writes only when the mark runs out soon.
update {p}ears set until = {real_now} + 3000000
where kind = any($1::text[]) and until < {real_now} + 1800000;
