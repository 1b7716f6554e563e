-- Tenants: their strides, and the indexes by which order tags are given.

create table {p}tenants (
    name text collate "C" primary key,
    stride bigint not null check (stride between 1 and 1000000)
);

-- A job that becomes ready: the last tag of its tenant that still waits. The condition fails at
-- once for jobs without a tenant, as that of each of these.
create index {i}jobs_turns on {p}jobs (queue, tenant, priority, tag)
where tenant is not null and state = 'ready';
-- The same at a gate.
create index {i}jobs_turns_waiting on {p}jobs (waits_at, tenant, priority, tag)
where tenant is not null and state = 'blocked' and waits_at is not null;
-- In the transaction that has made a tenant's job ready, or parked it: which have no tag yet.
create index {i}jobs_untagged on {p}jobs (state) where tag < 0;
