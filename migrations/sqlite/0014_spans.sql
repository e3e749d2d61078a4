-- Takes long: jobs and output sets are written anew.
-- A year of history in a few gigabytes: what is the same in millions of jobs is written once, and stands
-- for it as a number; names of output sets are bytes.

-- The evaluations of one spec for one system.
create table sequence (
  id integer primary key,
  spec_id integer not null references spec,
  system text not null,
  unique (spec_id, system)
) strict;
drop index job_name;
create table job_name (
  id integer primary key,
  name text not null unique
) strict;
-- A job had this derivation and these facts in all complete evaluations from first to last (null: still has).
create table span (
  id integer primary key,
  sequence_id integer not null references sequence,
  name_id integer not null references job_name,
  derivation_id integer not null references derivation,
  facts_id integer references job_facts,        -- null: recorded before there were facts
  line integer,                                 -- in the file, at the first of those evaluations
  first_evaluation integer not null references evaluation,
  last_evaluation integer references evaluation,
  node integer                                  -- see db/interval.rs; null while the interval is open
) strict;
insert into sequence (spec_id, system) select distinct spec_id, system from job;
insert into job_name (name) select distinct name from job;
insert into span (id, sequence_id, name_id, derivation_id, facts_id, line, first_evaluation, last_evaluation, node)
  select j.id, q.id, n.id, j.derivation_id, j.facts_id, j.line, j.first_evaluation, j.last_evaluation, j.node
  from job j join sequence q on q.spec_id = j.spec_id and q.system = j.system join job_name n on n.name = j.name
  order by j.id;
drop table job;
create index span_open on span (sequence_id, name_id) where last_evaluation is null;
create index span_node on span (sequence_id, node, last_evaluation, first_evaluation) where node is not null;
create index span_name on span (name_id, sequence_id);
create index span_derivation on span (derivation_id);
-- What is removed is looked for wherever somebody may refer to it.
create index span_first on span (first_evaluation, id);
create index span_last on span (last_evaluation) where last_evaluation is not null;
create view job as
  select s.id, q.spec_id, q.system, n.name, s.derivation_id, s.facts_id, s.line, s.first_evaluation,
    s.last_evaluation, s.node
  from span s join sequence q on q.id = s.sequence_id join job_name n on n.id = s.name_id;

create table new_output_set (
  id integer primary key,
  key blob not null unique,                     -- the first 160 bits of the SHA-256 of the sorted paths
  outputs text not null                         -- "NAME HASH-NAME" lines, sorted by output name
) strict;
insert into new_output_set (id, key, outputs) select id, unhex(key), outputs from output_set order by id;
drop table output_set;
alter table new_output_set rename to output_set;
