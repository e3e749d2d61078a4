-- The spec whose evaluation added the store items of a pack: what all of one spec's take is limited.
create table pack_owner (
  pack_id integer primary key references store_pack on delete cascade,
  spec_id integer not null,
  bytes integer not null                            -- of the pack, compressed
) strict;
create index pack_owner_spec on pack_owner (spec_id, bytes);
