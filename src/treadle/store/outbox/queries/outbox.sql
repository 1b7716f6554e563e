-- Called by: enqueue on a caller's connection, and the relay. {p} is the namespace's prefix, with
-- its schema where one is named. The order of `seq` is that in which rows were written; it is not
-- the order of commits of several transactions, so a reader never goes on behind a number: it
-- takes the lowest rows that it sees, and they are deleted. Rides the primary key.

-- name: there_sqlite
select exists (select 1 from sqlite_schema where type = 'table' and name = $1);

-- name: there_postgresql
select to_regclass($1::text) is not null;

-- name: now_sqlite
select cast(round((julianday('now') - 2440587.5) * 86400000) as integer) * 1000;

-- name: now_postgresql
select (extract(epoch from clock_timestamp()) * 1000000)::bigint;

-- name: add
insert into {p}outbox (id, job, made_at) values ($1, $2, $3);

-- name: notify
-- PostgreSQL tells who listens, at the commit; once a transaction, however many jobs.
select pg_notify($1::text, '');

-- name: turn
-- One relay at a time on PostgreSQL: its turn ends with its transaction, or with its connection.
-- The limits hold for this transaction alone, also behind a pooler; one that stands still in the
-- middle of its turn loses it.
select pg_try_advisory_xact_lock(hashtextextended($1::text, 0))
    and set_config('statement_timeout', $2::text, true) is not null
    and set_config('idle_in_transaction_session_timeout', $3::text, true) is not null;

-- name: page
select seq, page from {p}outbox where problem is null order by seq limit $1;

-- name: mark
-- Before a page is sent its rows are told where it ends, so that whoever sends it again, sends the
-- same rows together, whatever was committed between them meanwhile.
update {p}outbox set page = $2 where seq = $1;

-- name: marked
select seq, id, job from {p}outbox
where seq between $1 and $2 and page = $2 and problem is null order by seq;

-- name: sent
delete from {p}outbox where seq = $1;

-- name: refused
update {p}outbox set problem = $2, page = null where seq = $1;

-- name: again
update {p}outbox set problem = null where problem is not null;

-- name: counts
select count(*), count(problem), min(case when problem is null then made_at end) from {p}outbox;

-- name: problems
select seq, id, problem from {p}outbox where problem is not null order by seq limit $1;

-- name: table_sqlite
create table if not exists {p}outbox (
    seq integer primary key autoincrement,
    id blob not null,
    job blob not null,
    made_at integer not null,
    problem text,
    page integer
);

-- name: table_postgresql
create table if not exists {p}outbox (
    seq bigint generated always as identity primary key,
    id bytea not null,
    job bytea not null,
    made_at bigint not null,
    problem text,
    page bigint
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
