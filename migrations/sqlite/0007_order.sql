-- Builds have an order of their own, can wait for somebody's approval, and are given up when nobody wants them.

alter table build rename column state to former_state;
alter table build add column state text not null default 'queued' check (state in
  ('recorded', 'wanted', 'held', 'substituted', 'queued', 'submitted', 'refused', 'started', 'succeeded', 'failed',
   'canceling', 'canceled'));
update build set state = former_state;
drop index build_queue;
alter table build drop column former_state;

-- The coordinator's priority: larger is sooner.
alter table build add column urgency integer not null default 0;
update build set urgency = (9 - priority) * 100;
-- The one that the coordinator was told.
alter table build add column told_urgency integer;
update build set told_urgency = urgency where state in ('submitted', 'started');
create index build_queue on build (state, urgency desc, derivation_id);
