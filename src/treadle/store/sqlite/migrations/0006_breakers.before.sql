-- Breakers: gates that shut when jobs fail. The kind is checked by who writes it, so that the next
-- one needs no new table.

create table {p}gates_new (
    name text primary key not null,
    kind text not null,
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
    touched_at integer not null default 0,
    -- How often a breaker has opened in a row, the job it lets through when half open, and the
    -- instants of failures, with blanks between them.
    tripped integer not null default 0,
    probe blob,
    failed text not null default ''
) strict, without rowid;

insert into {p}gates_new (
    name, kind, quota, period, burst, used, full_at, part, shut_until, note, woken, woken_at,
    wake_at, defined_at, is_set, touched_at
)
select name, kind, quota, period, burst, used, full_at, part, shut_until, note, woken, woken_at,
    wake_at, defined_at, is_set, touched_at
from {p}gates;

drop table {p}gates;
alter table {p}gates_new rename to {p}gates;

create index {p}gates_wake on {p}gates (wake_at) where wake_at is not null;
create index {p}gates_touched on {p}gates (touched_at);
-- prune: which breakers wait for a job that may be gone.
create index {p}gates_probe on {p}gates (probe) where probe is not null;
