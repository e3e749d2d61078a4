-- Builds can be left to substitute servers, and have results.

alter table build rename column state to former_state;
alter table build add column state text not null default 'queued' check (state in
  ('recorded', 'wanted', 'substituted', 'queued', 'submitted', 'refused', 'started', 'succeeded', 'failed', 'canceled'));
update build set state = former_state;
drop index build_queue;
alter table build drop column former_state;
create index build_queue on build (state, priority, derivation_id);

-- What a substitute server said of a store item; forgotten once it has expired.
create table lookup (
  server text not null,                         -- its URL
  hash text not null,                           -- the 32 characters of the item's store path
  present integer not null,
  expires_at integer not null,
  primary key (server, hash)
) strict, without rowid;
create index lookup_expires on lookup (expires_at);

-- A substitute server that does not answer as it should.
create table substitute_server (
  url text primary key,
  failures integer not null,                    -- steps in a row in which it failed
  next_attempt integer not null,
  reason text not null
) strict;
