-- What is wanted is planned anew when what evaluations want has changed.

-- For what it was planned last: at most one row.
create table plan (
  id bigint primary key check (id = 1),
  live text not null,                           -- the evaluations that wanted builds, and what their specs say: JSON
  seen text not null,                           -- how far builds were wanted then
  planned_at bigint not null
);
-- Jobs that could not be evaluated stay wanted as they were last.
create index job_closed on job (spec_id, system, name) where last_evaluation is not null;
create index build_evaluation on build (evaluation_id);

-- Since when nobody has wanted a build that is therefore canceled, or about to be.
alter table build add column unwanted_at bigint;
-- Those that the coordinator has nevertheless.
create index build_unwanted on build (id) where unwanted_at is not null and state in ('submitted', 'started');

-- The build that needs it, when it is no job itself.
alter table build add column needed_by bigint references build;
create index build_needed_by on build (needed_by) where needed_by is not null;
-- Whether its inputs were wanted after it was queued.
alter table build add column inputs_queued boolean not null default false;

-- When somebody said that what it wants may be built, however much that is.
alter table evaluation add column approved_at bigint;
