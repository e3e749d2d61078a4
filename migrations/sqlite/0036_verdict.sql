-- Whether branches may be merged: one row each time the word or a number changes.
create table verdict (
  id integer primary key,
  spec_id integer not null references spec,
  at integer not null,                          -- when it became so
  judged_at integer not null,                   -- when it was found to be so last
  base text not null,                           -- the name of the base's spec
  word text not null,                           -- must-change | needs-action | unknown | waiting | ready
  reasons text not null,                        -- JSON
  report text                                   -- JSON; of the newest of each spec only
) strict;

create index verdict_spec on verdict (spec_id, id);

-- Reasons against branches that somebody answers for.
create table waiver (
  id integer primary key,
  spec_id integer not null references spec,
  reason text not null,                         -- the code of the reason
  job text not null,                            -- a pattern of names
  system text,                                  -- null: any
  why text not null,
  author text not null,
  made_at integer not null,
  until integer not null,
  ended_at integer                              -- when somebody ended it
) strict;
