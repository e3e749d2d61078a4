-- What forges delivered to webhooks, so that a repetition is recognized.
create table hook_delivery (
  id integer primary key,
  hook text not null,                           -- its name in gorget.toml
  delivery text,                                -- the sender's id for it, if it has one
  at integer not null,
  unique (hook, delivery)
) strict;

create index hook_delivery_at on hook_delivery (at);
