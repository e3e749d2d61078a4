-- Several machines work for one farm: who holds what, and until when.

-- Each lease has a term, the next number: what was leased under an older one cannot be written any more.
create table term (
  id bigint primary key check (id = 1),
  last bigint not null
);

alter table evaluation add column host text;                -- who evaluates it, or did last
alter table evaluation add column term bigint;             -- the term of that lease
alter table evaluation add column leased_until bigint;     -- while it runs: nobody takes it away before

-- A machine that works for the farm, by the name that it has there.
create table host (
  name text primary key,
  identity text not null,                                   -- of its state directory: the name is taken for others
  roles text not null,                                      -- evaluate, schedule, separated by blanks
  systems text not null,                                    -- which it evaluates, separated by blanks; empty: all
  workers bigint not null,
  memory bigint not null,                                  -- of its evaluations, in bytes
  started_at bigint not null,
  seen_at bigint not null,                                 -- its last sign of life
  stopped_at bigint                                        -- null: it was not stopped
);

-- Who watches, plans and submits.
create table scheduler (
  id bigint primary key check (id = 1),
  host text not null,
  term bigint not null,
  until bigint not null
);
