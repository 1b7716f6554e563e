-- The line's tables. {p} is the namespace's prefix. Instants and durations are microseconds.
-- STRICT (SQLite 3.37) makes the engine refuse a value of a wrong type, also by hand.

create table {p}meta (
    key text primary key not null,
    value text not null
) strict, without rowid;

-- Without a rowid the row lies in the tree of its id, so an enqueue writes two pages and not
-- three: 6 % more single enqueues a second, for 3 % of a drain.
create table {p}jobs (
    id blob primary key not null check (length(id) = 16),
    task text not null,
    queue text not null,
    priority integer not null default 0,
    -- The order tag of fair queueing; 0 for all until tenants have weights.
    tag integer not null default 0,
    -- A chain of comparisons, the frequent states first: for a list behind IN the engine would
    -- build a table each time, which cost 1.4 of an insert's 15 microseconds.
    state text not null check (
        state = 'ready' or state = 'running' or state = 'succeeded' or state = 'scheduled'
        or state = 'retrying' or state = 'failed' or state = 'cancelled' or state = 'expired'
        or state = 'blocked'
    ),
    -- The claim number: the fence. It only rises.
    number integer not null default 0,
    attempt integer not null default 0,
    forgiven integer not null default 0,
    crashes integer not null default 0,
    attempts_max integer,
    args blob not null,
    policy blob,
    -- Up to the year 9999, so that adding a retention to it never overflows.
    created_at integer not null check (created_at between 0 and 253402300799999999),
    run_at integer not null,
    expires_at integer,
    parked_at integer,
    reason text,
    worker text,
    started_at integer,
    finished_at integer,
    keep_until integer,
    outcome text,
    ran integer,
    result blob,
    error blob,
    tags blob,
    meta blob,
    tenant text,
    cost integer not null default 1,
    progress blob
) strict, without rowid;

-- claim: the best ready job of a queue is the first entry of its range.
create index {p}jobs_ready on {p}jobs (queue, priority desc, tag, id) where state = 'ready';
-- stage and next_due: what comes due first.
create index {p}jobs_due on {p}jobs (run_at) where state in ('scheduled', 'retrying');
-- rescue, beat and leave: what a worker holds.
create index {p}jobs_running on {p}jobs (worker) where state = 'running';
-- prune: whose time is over.
create index {p}jobs_ended on {p}jobs (keep_until) where keep_until is not null;
-- stage: what expires before it is started.
create index {p}jobs_expiring on {p}jobs (expires_at)
where expires_at is not null and state in ('ready', 'scheduled', 'retrying', 'blocked');
-- stage: what waits for a worker that knows its task.
create index {p}jobs_parked on {p}jobs (task) where reason = 'unknown_task' and state = 'scheduled';
-- dead letters, newest last.
create index {p}jobs_dead on {p}jobs (id) where state = 'failed';

-- Attempts that ended without ending their job; the last one is in the job's own row.
create table {p}attempts (
    job blob not null,
    claim integer not null,
    attempt integer not null,
    worker text,
    started_at integer not null,
    finished_at integer,
    outcome text not null,
    error blob,
    ran integer,
    primary key (job, claim)
) strict, without rowid;

create table {p}logs (
    job blob not null,
    line integer not null,
    attempt integer not null,
    at integer not null,
    level text not null,
    text text not null,
    primary key (job, line)
) strict, without rowid;

create table {p}queues (
    name text primary key not null,
    paused_at integer
) strict, without rowid;

-- One row an incarnation of a worker; request and answer are those of its last exchange.
create table {p}workers (
    id text primary key not null,
    info blob not null,
    started_at integer not null,
    request blob,
    answer blob
) strict, without rowid;

create view {p}attempt_log as
select job, claim, attempt, worker, started_at, finished_at, outcome, error, ran
from {p}attempts
union all
select id, number, attempt, worker, started_at, finished_at,
    case when state = 'running' then 'running' else coalesce(outcome, state) end,
    case when state <> 'running' then error end, ran
from {p}jobs
where started_at is not null and (
    state = 'running'
    -- Settled by a worker; a job that a person cancelled has its attempt in the table.
    or (state in ('succeeded', 'failed', 'cancelled') and ran is not null)
);
