use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, sqlx::Type)]
        #[serde(transparent)]
        #[sqlx(transparent)]
        pub struct $name(
            /// The number in the database.
            pub i64,
        );

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

ids! {
    /// Identifies a row of `spec`.
    SpecId
    /// Identifies a row of `branch`.
    BranchId
    /// Identifies a row of `push`.
    PushId
    /// Identifies an evaluation, for people as well.
    EvaluationId
    /// Identifies a derivation. It is larger than the ids of the derivation's inputs.
    DerivationId
    /// Identifies a build.
    BuildId
    /// Identifies a token, or a browser session.
    TokenId
}
