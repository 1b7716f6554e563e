-- Holds: places of gates that are held outside jobs, and who waits for one.

create table {p}holds (
    gate text not null,
    token blob not null,
    -- What the gate was when it was taken.
    kind text not null,
    cost integer not null,
    -- 0: it waits in the gate's line.
    is_held integer not null,
    -- 1: the next room is its, before jobs.
    is_next integer not null default 0,
    since integer not null,
    until_at integer not null,
    primary key (gate, token)
) strict, without rowid;

-- The line of a gate, first come first.
create index {p}holds_line on {p}holds (gate, since) where is_held = 0;
-- prune: whose time is over.
create index {p}holds_until on {p}holds (until_at);

-- park: the jobs that a newer one at their gate replaces.
create index {p}jobs_newest on {p}jobs (waits_at, id)
where state = 'blocked' and instr(gates, x'226f6e5f66756c6c223a227265706c61636522') > 0;
