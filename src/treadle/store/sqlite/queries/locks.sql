-- Called by: lock_take, lock_renew, lock_free, prune. Rides the primary key; one writer at a time.
-- The fence is counted for all locks together, so it rises also when a row has gone.

-- name: lock
select token, fence, until_at from {p}locks where name = ?;

-- name: lock_fence
insert into {p}meta (key, value) values ('fence', '1')
on conflict (key) do update set value = cast(value as integer) + 1
returning cast(value as integer);

-- name: lock_hold
insert into {p}locks (name, token, fence, until_at) values (?, ?, ?, ?)
on conflict (name) do update set
    token = excluded.token, fence = excluded.fence, until_at = excluded.until_at;

-- name: lock_renew
update {p}locks set until_at = max(until_at, ? + ?)
where name = ? and token = ? and until_at > ?;

-- name: lock_free
update {p}locks set token = null, until_at = ? where name = ? and token = ? and until_at > ?;

-- name: locks_over
delete from {p}locks where name in (
    select name from {p}locks where until_at <= ? - 3600000000 order by until_at limit ?
);
