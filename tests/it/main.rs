//! Stories: each file tells how a part of Gorget behaves, on real databases, repositories and Guix.

#![allow(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

mod support;

mod db_builds;
mod db_evaluations;
mod db_history;
mod db_opening;
mod db_store;
mod db_watching;
