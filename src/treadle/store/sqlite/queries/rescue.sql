-- Called by: rescue. Rides jobs_running. The number rises with the take-over, so whatever the
-- old worker still settles is LOST; reason 'lost' keeps "its code had started" over a crash of
-- the rescuer itself.

-- name: worker_ids
select id, info from {p}workers where id <> ?;

-- name: holders
select distinct worker from {p}jobs where state = 'running' and worker <> ?;

-- name: orphans
select id, number, reason is 'lost' from {p}jobs
where state = 'running' and worker = ? order by id limit ?;

-- name: take_over
update {p}jobs set number = number + 1, worker = :rescuer,
    reason = case when :started then 'lost' end
where id = :id and number = :number and state = 'running'
returning -priority, tag, id, number, task, queue, attempt, args, attempts_max, forgiven, crashes,
    policy, created_at, run_at, expires_at, parked_at, tags, meta, tenant, key, gates, started_at;
