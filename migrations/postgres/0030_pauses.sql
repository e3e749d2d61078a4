-- A fault of its machine ends an evaluation, and is no attempt at it; the host pauses meanwhile.
alter table evaluation add column faults bigint not null default 0;
alter table host add column paused_at bigint;
alter table host add column paused_reason text;
