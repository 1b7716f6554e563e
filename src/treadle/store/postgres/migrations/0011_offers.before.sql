-- Workers that have asked for a job of any queue in vain, and wait: an enqueue may claim its job
-- for one of them (docs/adr/0027).
create table {p}offers (
    worker text primary key,
    -- The key of an advisory lock, held by the connection on which its process hears its own news.
    ear bigint not null,
    -- How old its last beat may be (microseconds).
    patience bigint not null,
    -- What was handed over; null while the offer stands.
    job uuid
) with (
    fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0
);
