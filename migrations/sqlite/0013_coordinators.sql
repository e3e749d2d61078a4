-- Several coordinators: who is to make a build, or has it.

-- The name of the coordinator; empty if none serves it, null as long as that is not decided.
alter table build add column coordinator text;
-- Whether that one may have heard of it: from then on the build is its own, until it ends or is given up.
alter table build add column offered integer not null default false;
update build set coordinator = 'default', offered = true
  where state in ('submitted', 'started', 'canceling') or state = 'queued' and attempts > 0;
update build set coordinator = 'default' where state in ('succeeded', 'failed', 'refused') and reference is not null;

create index build_offer on build (coordinator, urgency desc, derivation_id) where state = 'queued';
create index build_unrouted on build (id) where state = 'queued' and coordinator is null;
drop index build_reading;
create index build_reading on build (coordinator, read_at) where state in ('submitted', 'started', 'canceling');
