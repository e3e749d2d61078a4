-- Any evaluation of a long history is read as fast as the newest, and evaluations can be forgotten.

-- Of the numbers from first_evaluation to last_evaluation, the one that can be halved most often, see
-- db/interval.rs; null while the interval is open.
alter table job add column node integer;
update job set node = (
  with recursive power(n) as (select 1 union all select n * 2 from power where n * 2 <= job.last_evaluation)
  select last_evaluation / n * n from power where last_evaluation / n * n >= first_evaluation order by n desc limit 1)
  where last_evaluation is not null;
drop index job_last;
create index job_node on job (spec_id, system, node, last_evaluation, first_evaluation) where node is not null;
drop index job_open;
create index job_open on job (spec_id, system, name, first_evaluation) where last_evaluation is null;
create index job_name on job (name);

-- When somebody said that it is never to be forgotten.
alter table evaluation add column pinned_at integer;
create index evaluation_complete on evaluation (spec_id, system, finished_at) where state = 'complete';
create index if not exists build_evaluation on build (evaluation_id);
create index evaluation_revision on evaluation (revision_id);

-- What is removed is looked for wherever somebody may refer to it.
create index job_last on job (last_evaluation) where last_evaluation is not null;
create index build_derivation on build (derivation_id);
create index store_item_pack on store_item (pack_id);

-- Who removes derivations and store items. Until then, no evaluation begins.
create table sweep (
  id integer primary key check (id = 1),
  holder text not null,
  until integer not null
) strict;
