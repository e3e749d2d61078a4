//! Stores states of builds as their words.

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
