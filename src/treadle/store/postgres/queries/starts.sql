-- Called by: starts and receive, while jobs are moved from store to store. Rides the primary key.
-- receive has locked the gate, so that what it has read holds until the commit.

-- name: read_starts
-- All pairs, also those that have left the window: instants, and what was taken at each.
select kind, quota, period, burst, came,
    array(select g.failed[n][1] from generate_subscripts(g.failed, 1) as n order by n),
    array(select g.failed[n][2] from generate_subscripts(g.failed, 1) as n order by n)
from {p}gates g where name = $1::text;

-- name: write_starts
update {p}gates set kind = $2::text, quota = $3::bigint, period = $4::bigint, burst = $5::bigint,
    came = $6::text, full_at = $7::bigint, touched_at = {hour}, failed = (
        select array_agg(array[s.at, s.took] order by s.at)
        from unnest($8::bigint[], $9::bigint[]) as s (at, took)
    )
where name = $1::text;
