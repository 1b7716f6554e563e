-- Called by: due_schedules, schedules, schedules_page, fire. Each write is conditional on the
-- revision, so any number of workers may fire at once: one of them is heard. The primary key and
-- schedules_due carry all of it.

-- name: schedules_due
select name, revision, due, body from {p}schedules
where due is not null and due <= ? order by due limit ?;

-- name: schedules_next
select min(due) from {p}schedules where due is not null and due > ?;

-- name: schedules_crew
select count(*), coalesce(min(id), '') from {p}workers;

-- name: schedule
select name, revision, due, body from {p}schedules where name = ?;

-- name: schedules_page
select name, revision, due, body from {p}schedules where name > ? order by name limit ?;

-- name: schedule_make
insert into {p}schedules (name, revision, due, body) values (:name, 1, :due, :body)
on conflict (name) do nothing;

-- name: schedule_move
update {p}schedules set revision = revision + 1, due = :due, body = :body
where name = :name and revision = :revision;

-- name: schedule_unfired
-- After schedule_move, in its transaction: other jobs hold the keys of this one's.
update {p}schedules set due = ?, body = ? where name = ?;

-- name: schedule_drop
delete from {p}schedules where name = :name and revision = :revision;
