-- Tenants: their strides, and the indexes by which order tags are given.

create table {p}tenants (
    name text primary key not null,
    stride integer not null check (stride between 1 and 1000000)
) strict, without rowid;

-- A job that becomes ready or is parked: the last tag of its tenant in that line; and, before each
-- commit, which jobs have no tag yet. One index, whose condition fails at once for most jobs.
create index {p}jobs_turns on {p}jobs (
    state, tag < 0, coalesce(waits_at, queue), tenant, priority, tag
) where tenant is not null and (state = 'ready' or state = 'blocked');
