//! What several stories need.

pub mod coordinator;
