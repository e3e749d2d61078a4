-- What is known of a job beside its derivation. Each combination is stored once, however many jobs and
-- evaluations have it. An empty text stands for what there is none of.
create table job_facts (
  id integer primary key,
  package text not null,
  version text not null,
  file text not null,                           -- that defines the package
  target text not null,                         -- that it is cross-built for
  channel text not null,
  max_silent_time integer not null,             -- seconds
  timeout integer not null,                     -- seconds
  hidden integer not null,
  replacement integer not null,
  substitutable integer not null,
  unique (package, version, file, target, channel, max_silent_time, timeout, hidden, replacement, substitutable)
) strict;

-- A job had this derivation and these facts in all complete evaluations from first to last.
alter table job add column facts_id integer references job_facts;  -- null: recorded before there were facts
-- The line in the file, at the first of those evaluations: lines move all the time.
alter table job add column line integer;
