-- The line's tables. {p} is the namespace's prefix with its schema, {i} the prefix alone (an index
-- lies in the schema of its table). Instants and durations are microseconds.
-- The types and checks refuse by hand what no claim could read.

create table {p}meta (
    key text primary key,
    value text not null
);
-- By this a connection of somebody else's is known to be open on this very database.
insert into {p}meta (key, value) values ('identity', gen_random_uuid()::text);

-- What has not ended. Small and hot: a row lives from its enqueue to its end, then moves to
-- history. Rows are written three times, so pages are left room and vacuum comes early.
create table {p}jobs (
    id uuid primary key,
    task text not null,
    queue text not null,
    priority smallint not null default 0,
    -- The order tag of fair queueing; 0 for all until tenants have weights.
    tag bigint not null default 0,
    state text not null check (
        state in ('ready', 'running', 'scheduled', 'retrying', 'blocked')
    ),
    -- The claim number: the fence. It only rises.
    number bigint not null default 0 check (number between 0 and 9007199254740991),
    attempt integer not null default 0 check (attempt between -1000000000 and 1000000000),
    forgiven integer not null default 0,
    crashes integer not null default 0 check (crashes between 0 and 1000000000),
    attempts_max integer,
    args bytea not null,
    policy bytea,
    -- Up to the year 9999, so that adding a retention to it never overflows.
    created_at bigint not null check (created_at between 0 and 253402300799999999),
    run_at bigint not null,
    expires_at bigint,
    parked_at bigint,
    reason text,
    worker text,
    -- Who held it when its code was cut short; only while its rescuer decides.
    lost_by text,
    started_at bigint,
    error bytea,
    tags bytea,
    meta bytea,
    tenant text,
    cost integer not null default 1,
    progress bytea
) with (
    fillfactor = 85,
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 50000,
    autovacuum_vacuum_cost_delay = 0, vacuum_truncate = false
);

-- claim: the best ready job of a queue is the first entry of its range.
create index {i}jobs_ready on {p}jobs (queue, priority desc, tag, id) where state = 'ready';
-- stage and next_due: what comes due first.
create index {i}jobs_due on {p}jobs (run_at) where state in ('scheduled', 'retrying');
-- rescue, beat and leave: what a worker holds.
create index {i}jobs_running on {p}jobs (worker) where state = 'running';
-- stage: what expires before it is started.
create index {i}jobs_expiring on {p}jobs (expires_at)
where expires_at is not null and state in ('ready', 'scheduled', 'retrying', 'blocked');
-- stage: what waits for a worker that knows its task.
create index {i}jobs_parked on {p}jobs (task) where reason = 'unknown_task' and state = 'scheduled';

-- What has ended: a parent without rows of its own. The rows are in tables that inherit from it,
-- so that reading it reads them all. Whoever settles writes into one of those by its name, and so
-- waits for nobody who reads, drops or makes another (docs/adr/0013).
create table {p}history (
    id uuid not null,
    task text not null,
    queue text not null,
    priority smallint not null,
    tag bigint not null,
    state text not null check (state in ('succeeded', 'failed', 'cancelled', 'expired')),
    number bigint not null check (number between 0 and 9007199254740991),
    attempt integer not null,
    forgiven integer not null,
    crashes integer not null,
    attempts_max integer,
    args bytea not null,
    policy bytea,
    created_at bigint not null,
    run_at bigint not null,
    expires_at bigint,
    reason text,
    worker text,
    started_at bigint,
    finished_at bigint not null,
    keep_until bigint not null,
    outcome text,
    ran bigint,
    result bytea,
    error bytea,
    error_type text,
    tags bytea,
    meta bytea,
    tenant text,
    cost integer not null,
    progress bytea,
    check (false) no inherit
);

-- Dead letters: kept for long, and retried or discarded one by one. No index on an id is unique: a
-- job that is stored again, hours later, under the id of one that ended must not hold up the
-- settlements beside it.
create table {p}dead (check (state = 'failed')) inherits ({p}history) with (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02
);
create index {i}dead_id on {p}dead (id);
-- prune: whose time is over.
create index {i}dead_over on {p}dead (keep_until);

-- What no worker has settled (cancelled, purged, expired), and all that has no shelf.
create table {p}rest () inherits ({p}history) with (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02
);
create index {i}rest_id on {p}rest (id);
create index {i}rest_over on {p}rest (keep_until);

-- The shelves: tables of history that workers make. What lies in one is over between `since` and
-- `until`, when it is dropped whole. The name is the table's, without the prefix.
create table {p}shelves (
    name text primary key,
    since bigint not null,
    until bigint not null
);

-- How many jobs of history are in which state, so that nobody has to count them. Whoever moves
-- some adds a row to `counted`; upkeep adds those up in `totals`.
create table {p}counted (
    shelf text not null,
    queue text not null,
    state text not null,
    jobs bigint not null
) with (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 50000,
    autovacuum_vacuum_cost_delay = 0
);
create table {p}totals (
    shelf text not null,
    queue text not null,
    state text not null,
    jobs bigint not null,
    primary key (shelf, queue, state)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- Batches stored within the last hour: one that is sent again is answered, not stored again.
create table {p}requests (
    id uuid primary key,
    made_at bigint not null
);
create index {i}requests_made on {p}requests (made_at);

-- Attempts that ended without ending their job; the last one is in the job's own row.
create table {p}attempts (
    job uuid not null,
    claim bigint not null,
    attempt integer not null,
    worker text,
    started_at bigint not null,
    finished_at bigint,
    outcome text not null,
    error bytea,
    ran bigint,
    primary key (job, claim)
);

create table {p}logs (
    job uuid not null,
    line bigint not null,
    attempt integer not null,
    at bigint not null,
    level text not null,
    text text not null,
    primary key (job, line)
);

create table {p}queues (
    name text primary key,
    paused_at bigint
);

-- One row an incarnation of a worker; what stands after `started_at` is its last exchange.
create table {p}workers (
    id text primary key,
    info bytea not null,
    started_at bigint not null,
    request uuid,
    claim_ids uuid[],
    claim_numbers bigint[],
    -- Which of that request's settlements came too late; written only where some did.
    lost_in uuid,
    lost bigint[]
) with (
    fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0
);

-- Ids do not get smaller by compressing them.
alter table {p}workers alter column claim_ids set storage external;

-- Apart from `workers`, so that a beat never waits for an exchange.
create table {p}beats (
    worker text primary key,
    beat_at bigint not null
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- Until when somebody listens for news of a kind; who writes looks here before it notifies.
create table {p}ears (
    kind text primary key,
    until bigint not null
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
insert into {p}ears (kind, until) values ('work', 0), ('ends', 0);

create view {p}records as
select id, task, queue, state, priority, attempt, number, args, created_at, run_at, attempts_max,
    forgiven, crashes, policy, started_at, null::bigint as finished_at, expires_at,
    null::bigint as keep_until, worker, null::text as outcome, reason, error,
    null::bytea as result, tags, meta, tenant, progress
from {p}jobs
union all
select id, task, queue, state, priority, attempt, number, args, created_at, run_at, attempts_max,
    forgiven, crashes, policy, started_at, finished_at, expires_at, keep_until, worker, outcome,
    reason, error, result, tags, meta, tenant, progress
from {p}history;

create view {p}attempt_log as
select job, claim, attempt, worker, started_at, finished_at, outcome, error, ran
from {p}attempts
union all
select id, number, attempt, worker, started_at, null, 'running', null, null
from {p}jobs where state = 'running'
union all
select id, number, attempt, worker, started_at, finished_at, coalesce(outcome, state), error, ran
from {p}history
-- Settled by a worker; a job that a person cancelled has its attempt in the table.
where started_at is not null and ran is not null;
