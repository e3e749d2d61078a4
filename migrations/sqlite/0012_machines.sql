-- Several machines work for one farm: who holds what, and until when.

-- Each lease has a term, the next number: what was leased under an older one cannot be written any more.
create table term (
  id integer primary key check (id = 1),
  last integer not null
) strict;

alter table evaluation add column host text;                -- who evaluates it, or did last
alter table evaluation add column term integer;             -- the term of that lease
alter table evaluation add column leased_until integer;     -- while it runs: nobody takes it away before

-- A machine that works for the farm, by the name that it has there.
create table host (
  name text primary key,
  identity text not null,                                   -- of its state directory: the name is taken for others
  roles text not null,                                      -- evaluate, schedule, separated by blanks
  systems text not null,                                    -- which it evaluates, separated by blanks; empty: all
  workers integer not null,
  memory integer not null,                                  -- of its evaluations, in bytes
  started_at integer not null,
  seen_at integer not null,                                 -- its last sign of life
  stopped_at integer                                        -- null: it was not stopped
) strict;

-- Who watches, plans and submits.
create table scheduler (
  id integer primary key check (id = 1),
  host text not null,
  term integer not null,
  until integer not null
) strict;
