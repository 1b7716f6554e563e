-- Each row of a job is written twice more, when it is claimed and when it ends. With half of each
-- page left free a claim finds room where the row lies, and a drain by many workers does not make
-- them wait for each other while the table grows. Pages that are there are filled up as before.
alter table {p}jobs set (fillfactor = 50);
