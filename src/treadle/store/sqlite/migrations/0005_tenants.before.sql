-- Tenants: their strides, and the indexes by which order tags are given.

create table {p}tenants (
    name text primary key not null,
    stride integer not null check (stride between 1 and 1000000)
) strict, without rowid;

-- A job that becomes ready: the last tag of its tenant that still waits.
create index {p}jobs_turns on {p}jobs (queue, tenant, priority, tag)
where state = 'ready' and tenant is not null;
-- The same at a gate.
create index {p}jobs_turns_waiting on {p}jobs (waits_at, tenant, priority, tag)
where state = 'blocked' and waits_at is not null and tenant is not null;
-- Before each commit: which jobs have become ready and have no tag yet.
create index {p}jobs_untagged on {p}jobs (queue) where state = 'ready' and tag < 0;
