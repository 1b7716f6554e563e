-- Schedules. The body is never read here; `due` is when somebody should look at a schedule.
create table {p}schedules (
    name text primary key not null,
    revision integer not null,
    due integer,
    body blob not null
) strict, without rowid;

-- due_schedules: what is due comes first, and behind it what is due next.
create index {p}schedules_due on {p}schedules (due) where due is not null;
