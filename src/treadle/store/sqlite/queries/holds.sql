-- Called by: hold_take, hold_renew, hold_free, prune, and by those who wake or park jobs at a gate.
-- Rides the primary key, holds_line and holds_until. One writer at a time. The row of a hold is
-- there for as long as its place is counted: one is never written without the other.

-- name: hold
select is_held, is_next, since from {p}holds where gate = ? and token = ?;

-- name: write_hold
insert into {p}holds (gate, token, kind, cost, is_held, is_next, since, until_at)
values (?, ?, ?, ?, ?, ?, ?, ?)
on conflict (gate, token) do update set
    kind = excluded.kind, cost = excluded.cost, is_held = excluded.is_held,
    is_next = excluded.is_next, until_at = excluded.until_at;

-- name: first_asking
select token, cost, is_next from {p}holds
where gate = ? and is_held = 0 and until_at > ? order by since, token limit 1;

-- name: asking
select count(*) from {p}holds where gate = ? and is_held = 0 and until_at > ?;

-- name: asking_before
select count(*) from {p}holds
where gate = ? and is_held = 0 and until_at > ? and (since, token) < (?, ?);

-- name: asks_next
update {p}holds set is_next = 1 where gate = ? and token = ?;

-- name: renew_hold
update {p}holds set until_at = max(until_at, ? + ?) where gate = ? and token = ? and is_held = 1;

-- name: free_hold
delete from {p}holds where gate = ? and token = ? returning kind, is_held;

-- name: holds_over
select gate, token from {p}holds where until_at <= ? order by until_at limit ?;

-- name: holds_over_at
select gate, token from {p}holds where gate = ? and until_at <= ? limit ?;

-- name: any_hold_over
select 1 from {p}holds where until_at <= ? limit 1;

-- name: held_at
select coalesce(sum(is_held = 1 and kind = 'places'), 0),
    coalesce(sum(is_held = 0 and until_at > ?), 0)
from {p}holds where gate = ?;
