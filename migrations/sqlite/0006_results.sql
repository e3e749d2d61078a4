-- What the coordinator told about its attempts at builds. One told twice is one.
create table build_event (
  id integer primary key,
  build_id integer not null references build,
  reference text not null,                      -- the coordinator's name for the attempt
  attempt text not null check (attempt in ('scheduled', 'started', 'succeeded', 'failed', 'canceled')),
  happened_at integer,                          -- as it says, if it does
  received_at integer not null,
  unique (build_id, reference, attempt)
) strict;
