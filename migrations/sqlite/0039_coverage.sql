-- The substitute servers that are asked for what they have.
create table presence_server (
  id integer primary key,
  url text not null unique
) strict;

-- Whether servers have the outputs of the jobs of the newest evaluations.
create table presence (
  output_set_id integer not null references output_set on delete cascade,
  server_id integer not null references presence_server,
  present integer not null,                     -- whether it has all outputs of the set
  since integer not null,                       -- since when it has been known to be so
  asked_at integer not null,
  next_attempt integer not null,
  primary key (output_set_id, server_id)
) strict, without rowid;

-- How many of the outputs of an evaluation servers have.
create table coverage (
  evaluation_id integer not null references evaluation on delete cascade,
  server text not null,                         -- its URL; empty: any server
  hours integer not null,                       -- counted so many hours after the evaluation was wanted; 0: last
  counted_at integer not null,
  present integer not null,
  absent integer not null,
  unknown integer not null,
  missing text,                                 -- JSON: what keeps absent outputs back; of any server only
  primary key (evaluation_id, server, hours)
) strict, without rowid;
