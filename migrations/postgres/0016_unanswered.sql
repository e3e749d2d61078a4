-- Whether the coordinator may have an attempt that is not known: it was asked for the build, and its answer is
-- outstanding or lost.
alter table build add column unanswered boolean not null default false;
