//! States of builds as the database has them, and the lists of them that queries need.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::{Database, Decode, Encode, Type};

use super::BuildState;

impl<DB: Database> Type<DB> for BuildState
where
    str: Type<DB>,
{
    fn type_info() -> DB::TypeInfo {
        <str as Type<DB>>::type_info()
    }

    fn compatible(info: &DB::TypeInfo) -> bool {
        <str as Type<DB>>::compatible(info)
    }
}

impl<'q, DB: Database> Encode<'q, DB> for BuildState
where
    &'q str: Encode<'q, DB>,
{
    fn encode_by_ref(&self, buffer: &mut <DB as Database>::ArgumentBuffer) -> Result<IsNull, BoxDynError> {
        <&'q str as Encode<'q, DB>>::encode(self.word(), buffer)
    }
}

impl<'r, DB: Database> Decode<'r, DB> for BuildState
where
    &'r str: Decode<'r, DB>,
{
    fn decode(value: DB::ValueRef<'r>) -> Result<Self, BoxDynError> {
        let word = <&'r str as Decode<'r, DB>>::decode(value)?;
        let state = Self::ALL.into_iter().find(|state| state.word() == word);
        state.ok_or_else(|| format!("no build has the state {word:?}").into())
    }
}

/// SQL for [`BuildState::is_wanted`].
macro_rules! wanted_states {
    () => {
        "('pending', 'awaiting-approval', 'queued', 'submitted', 'building')"
    };
}

/// SQL for [`BuildState::is_open`].
macro_rules! open_states {
    () => {
        "('pending', 'awaiting-approval', 'queued', 'submitted', 'building', 'canceling')"
    };
}

/// SQL for [`BuildState::is_submitted`].
macro_rules! submitted_states {
    () => {
        "('submitted', 'building')"
    };
}

/// SQL for [`BuildState::is_in_queue`].
macro_rules! in_queue_states {
    () => {
        "('queued', 'submitted', 'building')"
    };
}

/// SQL for [`BuildState::is_waiting`].
macro_rules! waiting_states {
    () => {
        "('pending', 'awaiting-approval', 'queued', 'submitted')"
    };
}

/// SQL for [`BuildState::has_failed`].
macro_rules! failed_states {
    () => {
        "('failed', 'rejected')"
    };
}

/// SQL for [`BuildState::is_in_outbox`].
macro_rules! outbox_states {
    () => {
        "('queued', 'canceling')"
    };
}

/// SQL for [`BuildState::is_routed`].
macro_rules! routed_states {
    () => {
        "('queued', 'submitted', 'building', 'canceling')"
    };
}

/// SQL for [`BuildState::is_missing`].
macro_rules! missing_states {
    () => {
        "('pending', 'awaiting-approval', 'queued', 'submitted', 'building', 'failed', 'rejected')"
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The states in a list as SQL writes it.
    fn listed(sql: &str) -> Vec<&str> {
        sql.trim_matches(['(', ')']).split(", ").map(|word| word.trim_matches('\'')).collect()
    }

    #[test]
    fn lists_of_states_are_those_of_the_predicates() {
        for (sql, is_in) in [
            (wanted_states!(), BuildState::is_wanted as fn(BuildState) -> bool),
            (open_states!(), BuildState::is_open),
            (submitted_states!(), BuildState::is_submitted),
            (in_queue_states!(), BuildState::is_in_queue),
            (waiting_states!(), BuildState::is_waiting),
            (failed_states!(), BuildState::has_failed),
            (outbox_states!(), BuildState::is_in_outbox),
            (routed_states!(), BuildState::is_routed),
            (missing_states!(), BuildState::is_missing),
        ] {
            let expected: Vec<_> =
                BuildState::ALL.into_iter().filter(|state| is_in(*state)).map(BuildState::word).collect();
            assert_eq!(listed(sql), expected);
        }
    }
}
