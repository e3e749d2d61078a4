-- Builds have an order of their own, can wait for somebody's approval, and are given up when nobody wants them.

alter table build drop constraint build_state_check;
alter table build add constraint build_state_check check (state in
  ('recorded', 'wanted', 'held', 'substituted', 'queued', 'submitted', 'refused', 'started', 'succeeded', 'failed',
   'canceling', 'canceled'));

-- The coordinator's priority: larger is sooner.
alter table build add column urgency bigint not null default 0;
update build set urgency = (9 - priority) * 100;
-- The one that the coordinator was told.
alter table build add column told_urgency bigint;
update build set told_urgency = urgency where state in ('submitted', 'started');
drop index build_queue;
create index build_queue on build (state, urgency desc, derivation_id);
