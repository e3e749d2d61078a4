-- The spine: one table for every arrow of the flow. Times are seconds since 1970.
-- Ids of derivations and output sets are given by Gorget, ascending, so that the inputs of a
-- derivation always have smaller ids than itself.

create table spec (
  id integer primary key,
  name text not null unique,
  definition text not null,                     -- the resolved spec, JSON
  priority integer not null,                    -- 0 first, 9 last
  active integer not null,
  present integer not null                      -- its file is still there
) strict;

-- A branch of a repository, shared by all specs that watch it.
create table branch (
  id integer primary key,
  url text not null,
  name text not null,
  tip text,                                     -- commit at the last look that succeeded; null: never there, or gone
  looked_at integer,                            -- the last look, whatever came of it
  next_look integer not null default 0,
  failures integer not null default 0,          -- looks that failed since the last success
  problem text,                                 -- unreachable | missing
  reason text,
  unique (url, name)
) strict;

create table push (
  id integer primary key,
  branch_id integer not null references branch,
  before text,
  after text,                                   -- null: the branch vanished
  seen_at integer not null
) strict;
create index push_branch on push (branch_id, id);

-- State of the local mirror of a repository.
create table mirror (
  url text primary key,
  fetched_at integer,                           -- the last fetch that succeeded
  failed_at integer,                            -- the last failure since
  next_fetch integer not null default 0,        -- after a failure: not before
  failures integer not null default 0,
  problem text,                                 -- failed | missing (the commit is not there)
  reason text
) strict;

create table revision (
  id integer primary key,
  key text not null unique,
  channels text not null,                       -- revision::Revision, JSON
  created_at integer not null
) strict;

create table evaluation (
  id integer primary key,
  spec_id integer not null references spec,
  revision_id integer not null references revision,
  build text not null,                          -- which jobs were asked for, JSON
  system text not null,
  state text not null check (state in ('waiting', 'running', 'complete', 'failed')),
  reason text,                                  -- why it failed
  partial integer not null default 0,           -- modules failed to load: absent jobs are not removed jobs
  attempts integer not null default 0,
  created_at integer not null,
  started_at integer,
  finished_at integer,
  jobs_total integer,                           -- what there is to evaluate, once enumerated
  jobs_done integer not null default 0,
  errors integer not null default 0,
  unscheduled integer not null default 0,       -- has jobs that the scheduler has not seen
  scheduled_job integer not null default 0,        -- the last job that it has seen
  figures text                                  -- JSON: memory, CPU, requests, phases
) strict;
create index evaluation_sequence on evaluation (spec_id, system, id);
create index evaluation_state on evaluation (state) where state in ('waiting', 'running');
create index evaluation_unscheduled on evaluation (id) where unscheduled;

-- The identity of a build: its set of output paths.
create table output_set (
  id integer primary key,
  key text not null unique,                     -- 160 bits of the SHA-256 of the sorted paths, hexadecimal
  outputs text not null                         -- "NAME HASH-NAME" lines, sorted by output name
) strict;

create table derivation (
  id integer primary key,
  hash text not null unique,                    -- the 32 characters of its store path
  name text not null,                           -- without ".drv"
  system text not null,
  output_set_id integer not null references output_set,
  inputs blob not null                          -- ids of input derivations, see store::edges
) strict;
create index derivation_output_set on derivation (output_set_id);

-- A job had this derivation in all complete evaluations from first to last (null: still has).
create table job (
  id integer primary key,
  spec_id integer not null references spec,
  system text not null,
  name text not null,
  derivation_id integer not null references derivation,
  first_evaluation integer not null references evaluation,
  last_evaluation integer references evaluation
) strict;
create index job_open on job (spec_id, system, name) where last_evaluation is null;
create index job_first on job (first_evaluation, id);
create index job_last on job (spec_id, system, last_evaluation) where last_evaluation is not null;
create index job_derivation on job (derivation_id);

create table evaluation_error (
  id integer primary key,
  evaluation_id integer not null references evaluation,
  name text not null,                           -- a job, or "(module name)"
  cause text not null,
  message text not null
) strict;
create index evaluation_error_evaluation on evaluation_error (evaluation_id, name);

-- A build that was wanted once: queued here first (the outbox), then at the coordinator.
create table build (
  id integer primary key,
  output_set_id integer not null unique references output_set,
  derivation_id integer not null references derivation,
  evaluation_id integer not null references evaluation,   -- why: the first that wanted it
  job text not null,
  system text not null,
  priority integer not null,                    -- of its spec: 0 first
  state text not null check (state in ('recorded', 'queued', 'submitted', 'refused')),
  created_at integer not null,
  answered_at integer,                          -- when the coordinator took or refused it
  reference text,                               -- the coordinator's name for it
  answer text,                                  -- what it said last, or why it could not be asked
  attempts integer not null default 0,
  next_attempt integer not null default 0
) strict;
create index build_queue on build (state, priority, derivation_id);

-- Store items that evaluations added, many compressed together.
create table store_pack (
  id integer primary key,
  contents blob not null                        -- zstd
) strict;
create table store_item (
  hash text primary key,                        -- the 32 characters of its store path
  name text not null,
  kind text not null check (kind in ('text', 'nar')),
  refs text not null,                           -- "HASH-NAME" of each reference, separated by blanks
  pack_id integer not null references store_pack,
  start integer not null,                       -- where it stands in the unpacked contents
  length integer not null
) strict, without rowid;
