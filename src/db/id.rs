use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, sqlx::Type)]
        #[serde(transparent)]
        #[sqlx(transparent)]
        pub struct $name(
            /// As the database numbers it.
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
    /// Names a row of `spec`.
    SpecId
    /// Names a row of `branch`.
    BranchId
    /// Names a row of `push`.
    PushId
    /// Names an evaluation, for people as well.
    EvaluationId
    /// Names a derivation; larger than the ids of its inputs.
    DerivationId
    /// Names a build.
    BuildId
    /// Names a token, or a browser session.
    TokenId
}
