-- Takes long: the states of builds and evaluations are written anew.
-- Tables, columns and states have the words of docs/glossary.md.

alter table hold rename to blocked_spec;
alter table blocked_spec rename column wanted to target;
alter table blocked_spec rename column next_try to next_attempt;
alter table lookup rename to substitute_answer;
alter index lookup_expires rename to substitute_answer_expires;
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
alter index span_open rename to job_interval_open;
alter index span_node rename to job_interval_node;
alter index span_name rename to job_interval_name;
alter index span_derivation rename to job_interval_derivation;
alter index span_first rename to job_interval_first;
create view job as
  select i.id, q.spec_id, q.system, n.name, i.derivation_id, i.metadata_id, i.line, i.first_evaluation,
    i.last_evaluation, i.node, i.name_id
  from job_interval i join sequence q on q.id = i.sequence_id join job_name n on n.id = i.name_id;

alter table evaluation rename column leased_until to lease_expires_at;
alter table evaluation rename column figures to metrics;
alter table evaluation drop constraint evaluation_state_check;
drop index evaluation_state;
update evaluation set state = 'pending' where state = 'waiting';
alter table evaluation add constraint evaluation_state_check check (state in
  ('pending', 'running', 'complete', 'failed'));
create index evaluation_state on evaluation (state) where state in ('pending', 'running');

alter table build rename column told_urgency to sent_urgency;
alter table build rename column given_up to canceled_attempt;
alter table build rename column read_at to polled_at;
alter table build rename column offered to sent;
alter table build rename column unanswered to in_doubt;
alter table build drop constraint build_state_check;
drop index build_unwanted;
drop index build_reading;
alter index build_untold rename to build_unsent_urgency;
alter index build_offer rename to build_outbox;
update build set state = case state when 'recorded' then 'known' when 'wanted' then 'pending'
    when 'held' then 'awaiting-approval' when 'refused' then 'rejected' else 'building' end
  where state in ('recorded', 'wanted', 'held', 'refused', 'started');
alter table build add constraint build_state_check check (state in
  ('known', 'pending', 'awaiting-approval', 'substituted', 'queued', 'submitted', 'rejected', 'building', 'succeeded',
   'failed', 'canceling', 'canceled'));
create index build_unwanted on build (id) where unwanted_at is not null and state in ('submitted', 'building');
create index build_poll on build (coordinator, polled_at) where state in ('submitted', 'building', 'canceling');
