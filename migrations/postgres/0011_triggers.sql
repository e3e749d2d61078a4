-- When somebody asked last that a branch be looked at, whether that is due or not.
alter table branch add column asked_at bigint;
