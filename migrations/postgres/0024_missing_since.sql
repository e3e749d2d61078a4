-- A branch that vanishes counts as gone only when it is still missing some minutes later.
alter table branch add column missing_since bigint;
