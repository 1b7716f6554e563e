-- Called by: receive, after a gate was written, while jobs are moved here from another store. Rides
-- the primary key. One writer at a time, so what is read holds until the commit.

-- name: came
select came from {p}gates where name = ?;

-- name: write_came
update {p}gates set came = ? where name = ?;
