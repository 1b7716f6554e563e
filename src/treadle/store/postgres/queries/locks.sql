-- Called by: lock_take, lock_renew, lock_free, prune. Rides the primary key. Where the row is
-- there, a number is drawn once it is locked, so a later hold has the higher one. A row stays an
-- hour beyond its hold: far longer than a take may last that drew its number before it was there.

-- name: lock_take
insert into {p}locks as l (name, token, fence, until_at)
values ($1::text, $2::bytea, nextval('{p}fences'), {now} + $3::bigint)
on conflict (name) do update set
    token = excluded.token,
    fence = case when l.token = excluded.token and l.until_at > {now}
        then l.fence else nextval('{p}fences') end,
    until_at = excluded.until_at
where l.token is null or l.token = excluded.token or l.until_at <= {now}
returning fence;

-- name: lock_left
select greatest(until_at - {now}, 0) from {p}locks where name = $1::text;

-- name: lock_renew
update {p}locks set until_at = greatest(until_at, {now} + $3::bigint)
where name = $1::text and token = $2::bytea and until_at > {now}
returning 1;

-- name: lock_free
update {p}locks set token = null, until_at = {now}
where name = $1::text and token = $2::bytea and until_at > {now}
returning 1;

-- name: locks_over
delete from {p}locks where name in (
    select name from {p}locks where until_at <= {now} - 3600000000
    order by until_at limit $1::bigint for update skip locked
);
