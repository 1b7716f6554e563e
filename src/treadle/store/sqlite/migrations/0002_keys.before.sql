-- Keys and locks. {p} is the namespace's prefix. Instants are microseconds.

-- What a job was enqueued with; whether it holds that key is told by the table of keys.
alter table {p}jobs add column key text;
alter table {p}jobs add column key_until text;
alter table {p}jobs add column key_hash blob;

-- A row for each key that is held: its name has one holder, and one that waits behind at most.
create table {p}keys (
    name text primary key not null check (length(name) between 1 and 512),
    job blob not null,
    until text not null check (until in ('claim', 'end', 'record', 'time')),
    until_at integer,
    hash blob,
    next blob
) strict, without rowid;

-- The end of a job: the key that it holds, or waits for.
create index {p}keys_job on {p}keys (job);
create index {p}keys_next on {p}keys (next) where next is not null;
-- prune: keys whose time is over.
create index {p}keys_until on {p}keys (until_at) where until_at is not null;

-- Batches with keys of the last hour, and what became of their jobs; others need no record.
create table {p}requests (
    id blob primary key not null,
    made_at integer not null,
    fates text not null
) strict, without rowid;
create index {p}requests_made on {p}requests (made_at);

-- A row an hour beyond the end of a hold, so that its fence is still known to the next one.
create table {p}locks (
    name text primary key not null check (length(name) between 1 and 512),
    token blob,
    fence integer not null,
    until_at integer not null
) strict, without rowid;
create index {p}locks_until on {p}locks (until_at);
