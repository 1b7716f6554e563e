-- Holds: places of gates that are held outside jobs, and who waits for one.

create table {p}holds (
    gate text collate "C" not null,
    token bytea not null,
    -- What the gate was when it was taken.
    kind text not null,
    cost bigint not null,
    -- False: it waits in the gate's line.
    is_held boolean not null,
    -- The next room is its, before jobs.
    is_next boolean not null default false,
    since bigint not null,
    until_at bigint not null,
    primary key (gate, token)
) with (
    fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0
);

-- The line of a gate, first come first.
create index {i}holds_line on {p}holds (gate, since, token) where not is_held;
-- prune: whose time is over.
create index {i}holds_until on {p}holds (until_at);

-- park: jobs that do not simply wait for a place.
create index {i}jobs_full on {p}jobs (waits_at)
where state = 'blocked' and number = 0 and waits_at is not null
    and jsonb_path_exists(gates, '$[*] ? (@.on_full == "skip" || @.on_full == "replace")');
