//! Derivations and store items: kept in packs, and removed when nothing needs them.
//!
//! Tables: `derivation`, `output_set`, `system`, `store_item`, `store_pack`, `pack_owner`, `sweep`.

pub(in crate::db) mod item;
pub(in crate::db) mod item_kind;
pub(in crate::db) mod mark;
pub(in crate::db) mod pack;
pub(in crate::db) mod packed;
pub(in crate::db) mod path;
pub(in crate::db) mod sweep;
pub(in crate::db) mod sweeper;
pub(in crate::db) mod verify;
