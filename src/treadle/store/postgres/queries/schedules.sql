-- Called by: due_schedules, schedules, schedules_page, fire. Each write is conditional on the
-- revision, so any number of workers may fire at once: one of them is heard. Rows are locked in
-- the order of their names. The primary key and schedules_due carry all of it.

-- name: schedules_due
select name, revision, due, body from {p}schedules
where due is not null and due <= {now} order by due limit $1::bigint;

-- name: schedules_next
select min(due) from {p}schedules where due is not null and due > {now};

-- name: schedules_crew
select count(*), coalesce(min(id), '') from {p}workers;

-- name: schedules_named
select name, revision, due, body from {p}schedules where name = any($1::text[]);

-- name: schedules_page
select name, revision, due, body from {p}schedules
where name > $1::text order by name limit $2::bigint;

-- name: schedules_make
insert into {p}schedules (name, revision, due, body)
select name, 1, due, body
from unnest($1::text[], $2::bigint[], $3::bytea[]) as given (name, due, body)
order by name
on conflict (name) do nothing
returning name;

-- name: schedules_move
with held as (
    select s.name, given.due, given.body
    from unnest($1::text[], $2::bigint[], $3::bigint[], $4::bytea[])
        as given (name, revision, due, body)
    join {p}schedules s on s.name = given.name and s.revision = given.revision
    order by s.name for update of s
)
update {p}schedules s set revision = s.revision + 1, due = held.due, body = held.body
from held where s.name = held.name
returning s.name;

-- name: schedules_unfired
-- After schedules_move, in its transaction: other jobs hold the keys of these ones'.
update {p}schedules s set due = given.due, body = given.body
from unnest($1::text[], $2::bigint[], $3::bytea[]) as given (name, due, body)
where s.name = given.name;

-- name: schedules_drop
with held as (
    select s.name
    from unnest($1::text[], $2::bigint[]) as given (name, revision)
    join {p}schedules s on s.name = given.name and s.revision = given.revision
    order by s.name for update of s
)
delete from {p}schedules s using held where s.name = held.name
returning s.name;
