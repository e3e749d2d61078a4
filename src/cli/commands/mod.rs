//! The commands: one file, or folder, per command.

pub(super) mod acknowledge;
pub(super) mod approve;
pub(super) mod audit;
pub(super) mod backup;
pub(super) mod channels;
pub(super) mod check;
pub(super) mod database;
pub(super) mod diff;
pub(super) mod evaluate;
pub(super) mod explain;
pub(super) mod failures;
pub(super) mod gc;
pub(super) mod generate;
pub(super) mod history;
pub(super) mod impact;
pub(super) mod key;
pub(super) mod pause;
pub(super) mod pin;
pub(super) mod poll;
pub(super) mod pushes;
pub(super) mod queue;
pub(super) mod reassign;
pub(super) mod retry;
pub(super) mod status;
pub(super) mod token;
pub(super) mod verify;
