-- Takes long: derivations, output sets, jobs, builds and store items are written anew.
-- What is looked for by a hash is found by the beginning of that, and what a row of another table says is
-- not written again. That a derivation, a set of outputs or a store item is there once is seen to by those who write.

create table system (
  id integer primary key,
  name text not null unique
) strict;
insert into system (name) select distinct system from derivation;

create table new_output_set (
  id integer primary key,
  outputs text not null                         -- "NAME HASH-NAME" lines, sorted by output name; `*` stands for the
                                                -- name of the derivations that make them, if that is one
) strict;
insert into new_output_set (id, outputs)
  select o.id, case count(distinct d.name) when 1 then replace(o.outputs, '-' || min(d.name), '-*') else o.outputs end
  from output_set o left join derivation d on d.output_set_id = o.id group by o.id order by o.id;
create table new_derivation (
  id integer primary key,
  hash text not null,                           -- the 32 characters of its store path
  name text not null,                           -- without ".drv"
  system_id integer not null references system,
  output_set_id integer not null references output_set,
  inputs blob not null                          -- ids of input derivations, see store::edges
) strict;
insert into new_derivation (id, hash, name, system_id, output_set_id, inputs)
  select d.id, d.hash, d.name, s.id, d.output_set_id, d.inputs from derivation d join system s on s.name = d.system
  order by d.id;
drop table derivation;
alter table new_derivation rename to derivation;
drop table output_set;
alter table new_output_set rename to output_set;
create index derivation_hash on derivation (substr(hash, 1, 12));
create index derivation_output_set on derivation (output_set_id);
create index output_set_first on output_set (substr(outputs, instr(outputs, ' ') + 1, 12));

create table new_build (
  id integer primary key,
  output_set_id integer not null unique references output_set,
  derivation_id integer not null,               -- makes that
  evaluation_id integer not null references evaluation,   -- why: the first that wanted it; its system is the build's
  name_id integer not null references job_name, -- of the job that wanted it, or of the derivation
  priority integer not null,                    -- of its spec: 0 first
  state text not null check (state in
    ('recorded', 'wanted', 'held', 'substituted', 'queued', 'submitted', 'refused', 'started', 'succeeded', 'failed',
     'canceling', 'canceled')),
  created_at integer not null,
  answered_at integer,                          -- when the coordinator took or refused it
  reference text,                               -- the coordinator's name for it
  answer text,                                  -- what it said last, or why it could not be asked
  attempts integer not null default 0,
  next_attempt integer not null default 0,
  urgency integer not null default 0,           -- the coordinator's priority: larger is sooner
  told_urgency integer,                         -- the one that the coordinator was told
  unwanted_at integer,                          -- since when nobody has wanted it
  needed_by integer references build,           -- the build that needs it, when it is no job itself
  inputs_queued integer not null default false, -- whether its inputs were wanted after it was queued
  given_up text,                                -- the attempt that the coordinator was asked to give up
  read_at integer not null default 0,           -- when the coordinator was asked last how far it is
  coordinator text,                             -- whose it is; empty: nobody serves it, null: not decided
  offered integer not null default false        -- whether that one may have heard of it
) strict;
insert into job_name (name) select job from build where true on conflict do nothing;
insert into new_build (id, output_set_id, derivation_id, evaluation_id, name_id, priority, state, created_at, answered_at,
    reference, answer, attempts, next_attempt, urgency, told_urgency, unwanted_at, needed_by, inputs_queued, given_up,
    read_at, coordinator, offered)
  select b.id, output_set_id, derivation_id, evaluation_id, n.id, priority, state, created_at, answered_at, reference,
    answer, attempts, next_attempt, urgency, told_urgency, unwanted_at, needed_by, inputs_queued, given_up, read_at,
    coordinator, offered
  from build b join job_name n on n.name = b.job order by b.id;
drop table build;
alter table new_build rename to build;
create index build_evaluation on build (evaluation_id);
create index build_queue on build (state, urgency desc, derivation_id);
create index build_needed_by on build (needed_by) where needed_by is not null;
create index build_unwanted on build (id) where unwanted_at is not null and state in ('submitted', 'started');
create index build_untold on build (id)
  where state = 'submitted' and reference is not null and told_urgency is distinct from urgency;
create index build_reading on build (coordinator, read_at) where state in ('submitted', 'started', 'canceling');
create index build_offer on build (coordinator, urgency desc, derivation_id) where state = 'queued';
create index build_unrouted on build (id) where state = 'queued' and coordinator is null;

drop view job;
create table new_span (
  id integer primary key,
  sequence_id integer not null references sequence,
  name_id integer not null references job_name,
  derivation_id integer not null references derivation,
  facts_id integer references job_facts,        -- null: recorded before there were facts
  line integer,                                 -- in the file, at the first of those evaluations
  first_evaluation integer not null references evaluation,
  last_evaluation integer,
  node integer                                  -- see db/interval.rs; null while the interval is open
) strict;
insert into new_span (id, sequence_id, name_id, derivation_id, facts_id, line, first_evaluation, last_evaluation, node)
  select id, sequence_id, name_id, derivation_id, facts_id, line, first_evaluation, last_evaluation, node
  from span order by id;
drop table span;
alter table new_span rename to span;
create index span_open on span (sequence_id, first_evaluation) where last_evaluation is null;
create index span_node on span (sequence_id, node, last_evaluation, first_evaluation) where node is not null;
create index span_name on span (name_id, sequence_id);
create index span_derivation on span (derivation_id);
create index span_first on span (first_evaluation);
create view job as
  select s.id, q.spec_id, q.system, s.name_id, n.name, s.derivation_id, s.facts_id, s.line, s.first_evaluation,
    s.last_evaluation, s.node
  from span s join sequence q on q.id = s.sequence_id join job_name n on n.id = s.name_id;

create table new_store_item (
  id integer primary key,
  hash text not null,                           -- the 32 characters of its store path
  name text not null,
  kind text not null check (kind in ('text', 'nar')),
  refs text not null,                           -- "HASH-NAME" of each reference, separated by blanks
  pack_id integer not null references store_pack,
  start integer not null,                       -- where it stands in the unpacked contents
  length integer not null
) strict;
insert into new_store_item (hash, name, kind, refs, pack_id, start, length)
  select hash, name, kind, refs, pack_id, start, length from store_item order by pack_id, start;
drop table store_item;
alter table new_store_item rename to store_item;
create index store_item_hash on store_item (substr(hash, 1, 12));
create index store_item_pack on store_item (pack_id);
