-- How many modules of the revision's Guix are compiled, of how many that had to be.
alter table evaluation add column modules_done bigint not null default 0;
alter table evaluation add column modules_total bigint not null default 0;
