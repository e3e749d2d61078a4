-- Secrets with which programs and browsers are let in. Only hashes are kept.
create table token (
  id integer primary key,
  name text not null,
  role text not null,                           -- read | trigger | operate | admin
  specs text not null,                          -- JSON array of patterns; empty: all
  hash text not null unique,                    -- SHA-256 of the secret, hexadecimal
  session_of integer references token,          -- a browser session was begun with that token
  made_by text not null,
  made_at integer not null,
  expires_at integer,
  used_at integer,
  revoked_at integer
) strict;

-- What people and programs changed, or were not permitted to.
create table audit (
  id integer primary key,
  at integer not null,
  author text not null,
  role text not null,
  origin text not null,                         -- the address of a client, or a host
  action text not null,
  subject text not null
) strict;

create index audit_at on audit (at);

-- What happened. Ids ascend in the order of commits, so one number says how far somebody has read.
create table event_log (
  id integer primary key,
  at integer not null,
  kind text not null,
  spec_id integer,                              -- of rows that may be gone
  evaluation_id integer
) strict;

create index event_log_at on event_log (at);

-- What is paused: specs, systems, hosts, or all submission.
create table pause (
  kind text not null,
  name text not null,
  since integer not null,
  author text not null,
  reason text not null,
  primary key (kind, name)
) strict, without rowid;
