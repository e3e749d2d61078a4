-- Attempts at builds: how they came to nothing, which of them is to be given up, when the coordinator was asked.

alter table build_event drop constraint build_event_attempt_check;
alter table build_event add constraint build_event_attempt_check check (attempt in
  ('scheduled', 'started', 'succeeded', 'failed', 'failed-other', 'canceled'));
-- That an attempt was accepted is an event like others.
insert into build_event (build_id, reference, attempt, received_at)
  select id, reference, 'scheduled', coalesce(answered_at, created_at) from build
  where reference is not null and state in ('submitted', 'started', 'succeeded', 'failed') on conflict do nothing;
create index build_event_reference on build_event (reference);

-- The attempt that the coordinator was asked to give up.
alter table build add column given_up text;
-- When the coordinator was asked last how far it is.
alter table build add column read_at bigint not null default 0;
create index build_reading on build (read_at) where state in ('submitted', 'started', 'canceling');
create index build_untold on build (id)
  where state = 'submitted' and reference is not null and told_urgency is distinct from urgency;
