-- Schedules. The body is never read here; `due` is when somebody should look at a schedule.
create table {p}schedules (
    name text collate "C" primary key,
    revision bigint not null,
    due bigint,
    body bytea not null
) with (
    fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_cost_delay = 0
);

-- due_schedules: what is due comes first, and behind it what is due next.
create index {i}schedules_due on {p}schedules (due) where due is not null;
