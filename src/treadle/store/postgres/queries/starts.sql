-- Called by: starts and receive, while jobs are moved from store to store. Rides the primary key.
-- receive has locked the gate, so that what it has read holds until the commit.

-- name: read_starts
-- All pairs, also those that have left the window: instants, and what was taken at each. They are
-- unrolled once: each g.failed[n] would read the whole of a long array from its place beside the
-- row.
select kind, quota, period, burst, came,
    array(select u.x from unnest(g.failed) with ordinality as u (x, n) where n % 2 = 1 order by n),
    array(select u.x from unnest(g.failed) with ordinality as u (x, n) where n % 2 = 0 order by n)
from {p}gates g where name = $1::text;

-- name: write_starts
update {p}gates set kind = $2::text, quota = $3::bigint, period = $4::bigint, burst = $5::bigint,
    came = $6::text, full_at = $7::bigint, touched_at = {hour}, failed = (
        select array_agg(array[s.at, s.took] order by s.at)
        from unnest($8::bigint[], $9::bigint[]) as s (at, took)
    )
where name = $1::text;
