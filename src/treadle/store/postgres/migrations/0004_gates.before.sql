-- Gates: named limiters, what a job carries of them, and at which one it is parked.

create table {p}gates (
    name text collate "C" primary key,
    kind text not null check (kind in ('places', 'rate', 'switch')),
    quota bigint not null check (quota between 0 and 1000000),
    period bigint not null check (period between 0 and 2678400000000),
    burst bigint not null check (burst between 0 and 1000000),
    used bigint not null default 0,
    full_at bigint not null default 0,
    part bigint not null default 0,
    shut_until bigint,
    note text,
    woken bigint not null default 0,
    woken_at bigint not null default 0,
    wake_at bigint,
    defined_at bigint not null default 0,
    is_set boolean not null default false,
    -- To the hour: what prune goes by.
    touched_at bigint not null default 0,
    check (kind = 'switch' or quota > 0),
    check (kind <> 'rate' or (period > 0 and burst > 0))
) with (
    fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0
);

-- stage and next_due: which gate has jobs to wake, and when.
create index {i}gates_wake on {p}gates (wake_at) where wake_at is not null;
-- prune: which gates nobody has used of late.
create index {i}gates_touched on {p}gates (touched_at);

alter table {p}jobs add column gates jsonb check (
    gates is null or (jsonb_typeof(gates) = 'array' and not jsonb_path_exists(
        gates,
        '$[*] ? (@.type() != "object" || @.name.type() != "string" || @.cost.type() != "number")'
    ))
);
alter table {p}jobs add column waits_at text collate "C";
alter table {p}history add column gates jsonb;
-- At which gate a job was parked when it ended.
alter table {p}history add column waits_at text;

-- claim: whether any ready job has gates at all.
create index {i}jobs_gated on {p}jobs (queue) where state = 'ready' and gates is not null;
-- wake: the best job parked at a gate is the first entry of its range.
create index {i}jobs_waiting on {p}jobs (waits_at, priority desc, tag, id)
where state = 'blocked' and waits_at is not null;

create or replace view {p}records as
select id, task, queue, state, priority, attempt, number, args, created_at, run_at, attempts_max,
    forgiven, crashes, policy, started_at, null::bigint as finished_at, expires_at,
    null::bigint as keep_until, worker, null::text as outcome, reason, error,
    null::bytea as result, tags, meta, tenant, progress, key, gates, waits_at
from {p}jobs
union all
select id, task, queue, state, priority, attempt, number, args, created_at, run_at, attempts_max,
    forgiven, crashes, policy, started_at, finished_at, expires_at, keep_until, worker, outcome,
    reason, error, result, tags, meta, tenant, progress, key, gates, waits_at
from {p}history;
