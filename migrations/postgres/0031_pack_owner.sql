-- The spec whose evaluation added the store items of a pack: what all of one spec's take is limited.
create table pack_owner (
  pack_id bigint primary key references store_pack on delete cascade,
  spec_id bigint not null,
  bytes bigint not null                            -- of the pack, compressed
);
create index pack_owner_spec on pack_owner (spec_id, bytes);
