-- What a claim writes is longer than the row that it finds, by the name of the worker and the time,
-- so that half of a page was a little too small for it. Pages that are there are filled up as
-- before.
alter table {p}jobs set (fillfactor = 45);
