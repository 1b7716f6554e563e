-- Gates: named limiters, what a job carries of them, and at which one it is parked.

create table {p}gates (
    name text primary key not null,
    kind text not null check (kind in ('places', 'rate', 'switch')),
    quota integer not null,
    period integer not null,
    burst integer not null,
    used integer not null default 0,
    full_at integer not null default 0,
    part integer not null default 0,
    shut_until integer,
    note text,
    woken integer not null default 0,
    woken_at integer not null default 0,
    wake_at integer,
    defined_at integer not null default 0,
    is_set integer not null default 0,
    -- To the hour: what prune goes by.
    touched_at integer not null default 0
) strict, without rowid;

-- stage and next_due: which gate has jobs to wake, and when.
create index {p}gates_wake on {p}gates (wake_at) where wake_at is not null;
-- prune: which gates nobody has used of late.
create index {p}gates_touched on {p}gates (touched_at);

alter table {p}jobs add column gates blob;
alter table {p}jobs add column waits_at text;

-- claim: whether any ready job has gates at all.
create index {p}jobs_gated on {p}jobs (queue) where state = 'ready' and gates is not null;
-- wake: the best job parked at a gate is the first entry of its range.
create index {p}jobs_waiting on {p}jobs (waits_at, priority desc, tag, id)
where state = 'blocked' and waits_at is not null;
