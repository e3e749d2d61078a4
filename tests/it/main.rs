//! Stories about Gorget, told with the real programs that it works with.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::large_futures, reason = "a test awaits few of them")]
#![allow(clippy::too_many_lines, reason = "a story is read from its beginning to its end")]

mod support;

mod abuse;
mod approve;
mod authentic;
mod branches;
mod broken;
mod builds;
mod channel;
mod channel_files;
mod channels;
mod checkout;
mod commands;
mod compare;
mod compiled;
mod conversions;
mod coordinator;
mod coordinators;
mod crash;
mod cycles;
mod db_builds;
mod db_evaluations;
mod db_history;
mod db_migrations;
mod db_opening;
mod db_store;
mod db_watching;
mod documents;
mod eval_store;
mod events;
mod exact;
mod explain;
mod failing;
mod farm;
mod faults;
mod flawed;
mod flood;
mod full;
mod here;
mod hostile;
mod impatient;
mod layouts;
mod leases;
mod linear;
mod machines;
mod needed;
mod outcomes;
mod pages;
mod planning;
mod power;
mod remotes;
mod repository;
mod results;
mod retention;
mod runtimes;
mod sabotage;
mod sandboxes;
mod schedules;
mod served;
mod siege;
mod sources;
mod spec;
mod stop;
mod substitutes;
mod systems;
mod tidy;
mod time_machine;
mod torture;
mod upgrades;
mod verify;
mod versions;
