-- Of a sliding window: which starts have come from other stores, by their moves.
alter table {p}gates add column came text not null default '';
