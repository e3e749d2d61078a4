-- What a push was, once that is known: created, forward, forced, deleted, returned.
alter table push add column kind text;
-- When somebody said that this push may lead away from what was evaluated before.
alter table push add column acknowledged_at integer;

-- The last authentic commit that was handed on, and the push that had brought the branch there.
alter table branch add column trusted text;
alter table branch add column trusted_push integer;

-- The revision with the origins of its channels, as of this evaluation: JSON.
alter table evaluation add column channels text;

-- Why what a spec wants is not evaluated.
create table hold (
  spec_id integer primary key references spec,
  wanted text not null,                         -- what it holds: another definition or commit is tried at once
  kind text not null check (kind in ('bad', 'unknown', 'rollback', 'metadata', 'failed')),
  reason text not null,
  push_id integer references push,              -- the one to acknowledge
  since integer not null,
  next_try integer not null,
  failures integer not null
) strict;
