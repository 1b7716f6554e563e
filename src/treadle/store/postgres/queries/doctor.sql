-- Called by: examine. Only the server's own views are read, which every user may; what they hide
-- from one without pg_read_all_stats is null there.

-- name: server_clock
select {real_now};

-- name: server_settings
select name, setting from pg_settings where name = any($1::text[]);

-- name: server_sessions
-- The kind of other users' sessions may be hidden; how many there are in a database never is. That
-- counts a few workers of the server's own as well.
select (select sum(numbackends)::bigint from pg_stat_database),
    pg_has_role(current_user, 'pg_read_all_stats', 'usage'),
    (select count(*) from pg_stat_replication where sync_state in ('sync', 'quorum'));

-- name: snapshot_holders
-- Who keeps dead rows from being removed: the oldest first. Slots of other databases count too.
-- The server's own workers (autovacuum) are left out: they end by themselves, and nobody ends them.
select kind, who, age, seconds from (
    select 'session' as kind,
        'process ' || pid || ', user ' || coalesce(usename::text, 'unknown') || ', '
            || coalesce(nullif(application_name, ''), 'unnamed') || ', '
            || coalesce(state, 'state hidden') as who,
        greatest(age(backend_xmin), age(backend_xid))::bigint as age,
        extract(epoch from clock_timestamp() - xact_start)::bigint as seconds
    from pg_stat_activity
    where pid <> pg_backend_pid() and backend_type in ('client backend', 'walsender')
        and (datname = current_database() or datname is null)
        and (backend_xmin is not null or backend_xid is not null
            or state like 'idle in transaction%')
    union all
    select 'prepared transaction', gid, age(transaction)::bigint,
        extract(epoch from clock_timestamp() - prepared)::bigint
    from pg_prepared_xacts where database = current_database()
    union all
    select 'replication slot', slot_name::text, age(xmin)::bigint, null
    from pg_replication_slots where xmin is not null
) as holders
order by age desc nulls last, seconds desc nulls last limit 5;

-- name: hot_table
select n_live_tup, n_dead_tup,
    extract(epoch from clock_timestamp() - greatest(last_vacuum, last_autovacuum))::bigint,
    coalesce('autovacuum_enabled=false' = any(c.reloptions)
        or 'autovacuum_enabled=off' = any(c.reloptions), false)
from pg_stat_all_tables s join pg_class c on c.oid = s.relid
where s.relid = to_regclass('{p}jobs');
