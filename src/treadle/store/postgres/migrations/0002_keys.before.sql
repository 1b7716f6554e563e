-- Keys and locks. {p} is the namespace's prefix with its schema, {i} the prefix alone. Instants are
-- microseconds.

-- What a job was enqueued with; whether it holds that key is told by the table of keys.
alter table {p}jobs add column key text, add column key_until text, add column key_hash bytea;
alter table {p}history add column key text, add column key_until text, add column key_hash bytea;

-- A row for each key: its name has one holder, and one job that waits behind him at most. A row
-- is loose from when its holder gave it up, until it is deleted or the next one has woken.
create table {p}keys (
    name text primary key check (length(name) between 1 and 512),
    job uuid,
    until text not null check (until in ('claim', 'end', 'record', 'time')),
    until_at bigint,
    hash bytea,
    next uuid,
    loose boolean not null default false
) with (
    fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_cost_delay = 0
);

-- The end of a job: the key that it holds, or waits for.
create index {i}keys_job on {p}keys (job);
create index {i}keys_next on {p}keys (next) where next is not null;
-- stage and whoever has freed a key: what is to be handed on or deleted.
create index {i}keys_loose on {p}keys (name) where loose;
-- prune: keys whose time is over.
create index {i}keys_until on {p}keys (until_at) where until_at is not null;

-- What became of those jobs of a batch that met others; written for batches with keys alone.
alter table {p}requests add column fates text;

-- A row an hour beyond the end of a hold, so that its fence is known to the next one.
create table {p}locks (
    name text primary key check (length(name) between 1 and 512),
    token bytea,
    fence bigint not null,
    until_at bigint not null
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
create index {i}locks_until on {p}locks (until_at);
create sequence {p}fences;

create or replace view {p}records as
select id, task, queue, state, priority, attempt, number, args, created_at, run_at, attempts_max,
    forgiven, crashes, policy, started_at, null::bigint as finished_at, expires_at,
    null::bigint as keep_until, worker, null::text as outcome, reason, error,
    null::bytea as result, tags, meta, tenant, progress, key
from {p}jobs
union all
select id, task, queue, state, priority, attempt, number, args, created_at, run_at, attempts_max,
    forgiven, crashes, policy, started_at, finished_at, expires_at, keep_until, worker, outcome,
    reason, error, result, tags, meta, tenant, progress, key
from {p}history;
