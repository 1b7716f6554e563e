-- Breakers: gates that shut when jobs fail. The kind is checked by who writes it, so that the next
-- one needs no new rule; of a breaker, `burst` is its cool-down in microseconds.

-- The names of these two rules are the server's own.
do $$ begin execute (
    select 'alter table {p}gates ' || string_agg('drop constraint ' || quote_ident(conname), ', ')
    from pg_constraint
    where conrelid = '{p}gates'::regclass and contype = 'c'
        and pg_get_constraintdef(oid) ~ '(kind = ANY|burst <= 1000000)'
); end $$;

alter table {p}gates
    add constraint burst_fits check (burst between 0 and 2678400000000),
    -- How often a breaker has opened in a row, the job it lets through when half open, and when
    -- jobs have failed of late.
    add column tripped bigint not null default 0,
    add column probe uuid,
    add column failed bigint[] not null default '{}';

-- prune: which breakers wait for a job that may be gone.
create index {i}gates_probe on {p}gates (probe) where probe is not null;
