-- Takes long: notes the derivation of each build that failed, and of the attempts at it.
-- What failed is known of each derivation: others that make the same outputs may still be built.
create table failed_derivation (
  build_id integer not null references build on delete cascade,
  hash text not null,                           -- the 32 characters of the derivation's store path
  evaluation_id integer not null,               -- the one for which it was tried last; it may be gone
  failed_at integer not null,                   -- when it failed last
  failures integer not null default 1,          -- how often it failed
  has_others integer not null,                  -- whether others were known then that make the same outputs
  primary key (build_id, hash)
) strict;
-- What the attempt was made at, if that is known: the 32 characters of the derivation's store path.
alter table build_event add column derivation text;
insert into failed_derivation (build_id, hash, evaluation_id, failed_at, has_others)
  select b.id, d.hash, b.evaluation_id, coalesce((select max(x.received_at) from build_event x
      where x.build_id = b.id and x.attempt = 'failed'), b.answered_at, b.created_at), true
  from build b join derivation d on d.id = b.derivation_id where b.state in ('failed', 'refused');
update build_event set derivation = (select f.hash from failed_derivation f where f.build_id = build_event.build_id)
  where build_id in (select build_id from failed_derivation);
