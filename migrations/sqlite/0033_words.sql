-- Takes long: evaluations and builds are written anew.
-- Tables, columns and states have the words of docs/glossary.md.

alter table hold rename to blocked_spec;
alter table blocked_spec rename column wanted to target;
alter table blocked_spec rename column next_try to next_attempt;
alter table lookup rename to substitute_answer;
drop index lookup_expires;
create index substitute_answer_expires on substitute_answer (expires_at);
alter table scheduler rename to scheduler_lease;
alter table scheduler_lease rename column until to expires_at;
alter table sweep rename column until to expires_at;
alter table branch rename column looked_at to polled_at;
alter table branch rename column next_look to next_poll;
alter table branch rename column asked_at to requested_at;
alter table host rename column seen_at to heartbeat_at;

drop view job;
alter table job_facts rename to job_metadata;
alter table span rename to job_interval;
alter table job_interval rename column facts_id to metadata_id;
drop index span_open;
drop index span_node;
drop index span_name;
drop index span_derivation;
drop index span_first;
create index job_interval_open on job_interval (sequence_id, first_evaluation) where last_evaluation is null;
create index job_interval_node on job_interval (sequence_id, node, last_evaluation, first_evaluation)
  where node is not null;
create index job_interval_name on job_interval (name_id, sequence_id);
create index job_interval_derivation on job_interval (derivation_id);
create index job_interval_first on job_interval (first_evaluation);
create view job as
  select i.id, q.spec_id, q.system, i.name_id, n.name, i.derivation_id, i.metadata_id, i.line, i.first_evaluation,
    i.last_evaluation, i.node
  from job_interval i join sequence q on q.id = i.sequence_id join job_name n on n.id = i.name_id;

create table new_evaluation (
  id integer primary key,
  spec_id integer not null references spec,
  revision_id integer not null references revision,
  channels text,                                -- the revision as this evaluation saw it, JSON
  build text not null,                          -- which jobs were asked for, JSON
  system text not null,
  state text not null check (state in ('pending', 'running', 'complete', 'failed')),
  reason text,                                  -- why it failed
  partial integer not null default 0,           -- modules failed to load: absent jobs are not removed jobs
  attempts integer not null default 0,
  faults integer not null default 0,            -- how often its machine was to blame
  created_at integer not null,
  started_at integer,
  finished_at integer,
  approved_at integer,
  pinned_at integer,
  jobs_total integer,                           -- what there is to evaluate, once enumerated
  jobs_done integer not null default 0,
  errors integer not null default 0,
  unscheduled integer not null default 0,       -- has jobs that the scheduler has not seen
  scheduled_job integer not null default 0,     -- the last job that it has seen
  host text,
  term integer,
  lease_expires_at integer,
  metrics text                                  -- JSON: memory, CPU, requests, phases
) strict;
insert into new_evaluation (id, spec_id, revision_id, channels, build, system, state, reason, partial, attempts, faults,
    created_at, started_at, finished_at, approved_at, pinned_at, jobs_total, jobs_done, errors, unscheduled,
    scheduled_job, host, term, lease_expires_at, metrics)
  select id, spec_id, revision_id, channels, build, system, case state when 'waiting' then 'pending' else state end,
    reason, partial, attempts, faults, created_at, started_at, finished_at, approved_at, pinned_at, jobs_total,
    jobs_done, errors, unscheduled, scheduled_job, host, term, leased_until, figures
  from evaluation order by id;
drop table evaluation;
alter table new_evaluation rename to evaluation;
create index evaluation_sequence on evaluation (spec_id, system, id);
create index evaluation_state on evaluation (state) where state in ('pending', 'running');
create index evaluation_unscheduled on evaluation (id) where unscheduled;
create index evaluation_complete on evaluation (spec_id, system, finished_at) where state = 'complete';
create index evaluation_revision on evaluation (revision_id);

create table new_build (
  id integer primary key,
  output_set_id integer not null unique references output_set,
  derivation_id integer not null,               -- makes that
  evaluation_id integer not null references evaluation,   -- why: the first that wanted it; its system is the build's
  name_id integer not null references job_name, -- of the job that wanted it, or of the derivation
  priority integer not null,                    -- of its spec: 0 first
  state text not null check (state in
    ('known', 'pending', 'awaiting-approval', 'substituted', 'queued', 'submitted', 'rejected', 'building', 'succeeded',
     'failed', 'canceling', 'canceled')),
  created_at integer not null,
  answered_at integer,                          -- when the coordinator took or rejected it
  reference text,                               -- the coordinator's name for it
  answer text,                                  -- what it said last, or why it could not be asked
  attempts integer not null default 0,
  next_attempt integer not null default 0,
  urgency integer not null default 0,           -- the coordinator's priority: larger is sooner
  sent_urgency integer,                         -- the one that the coordinator was told
  unwanted_at integer,                          -- since when nobody has wanted it
  needed_by integer references build,           -- the build that needs it, when it is no job itself
  inputs_queued integer not null default false, -- whether its inputs were wanted after it was queued
  canceled_attempt text,                        -- the attempt that the coordinator was asked to cancel
  polled_at integer not null default 0,         -- when the coordinator was asked last how far it is
  coordinator text,                             -- whose it is; empty: nobody serves it, null: not decided
  sent integer not null default false,          -- whether that one may have heard of it
  in_doubt integer not null default false       -- whether it may have an attempt that is not known
) strict;
insert into new_build (id, output_set_id, derivation_id, evaluation_id, name_id, priority, state, created_at, answered_at,
    reference, answer, attempts, next_attempt, urgency, sent_urgency, unwanted_at, needed_by, inputs_queued,
    canceled_attempt, polled_at, coordinator, sent, in_doubt)
  select id, output_set_id, derivation_id, evaluation_id, name_id, priority,
    case state when 'recorded' then 'known' when 'wanted' then 'pending' when 'held' then 'awaiting-approval'
      when 'refused' then 'rejected' when 'started' then 'building' else state end,
    created_at, answered_at, reference, answer, attempts, next_attempt, urgency, told_urgency, unwanted_at, needed_by,
    inputs_queued, given_up, read_at, coordinator, offered, unanswered
  from build order by id;
drop table build;
alter table new_build rename to build;
create index build_evaluation on build (evaluation_id);
create index build_queue on build (state, urgency desc, derivation_id);
create index build_needed_by on build (needed_by) where needed_by is not null;
create index build_unwanted on build (id) where unwanted_at is not null and state in ('submitted', 'building');
create index build_unsent_urgency on build (id)
  where state = 'submitted' and reference is not null and sent_urgency is distinct from urgency;
create index build_poll on build (coordinator, polled_at) where state in ('submitted', 'building', 'canceling');
create index build_outbox on build (coordinator, urgency desc, derivation_id) where state = 'queued';
create index build_unrouted on build (id) where state = 'queued' and coordinator is null;
