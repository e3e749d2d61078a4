-- Builds can be left to substitute servers, and have results.

alter table build drop constraint build_state_check;
alter table build add constraint build_state_check check (state in
  ('recorded', 'wanted', 'substituted', 'queued', 'submitted', 'refused', 'started', 'succeeded', 'failed', 'canceled'));

-- What a substitute server said of a store item; forgotten once it has expired.
create table lookup (
  server text not null,                         -- its URL
  hash text not null,                           -- the 32 characters of the item's store path
  present boolean not null,
  expires_at bigint not null,
  primary key (server, hash)
);
create index lookup_expires on lookup (expires_at);

-- A substitute server that does not answer as it should.
create table substitute_server (
  url text primary key,
  failures bigint not null,                     -- steps in a row in which it failed
  next_attempt bigint not null,
  reason text not null
);
