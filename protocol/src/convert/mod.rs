//! Conversions between the generated messages and the contract's own types.
//!
//! Writing never fails; reading returns a [`FieldError`] that names the field. Fields that this version does not know
//! are ignored by the generated code; a *kind* of object, key, event or frame that it does not know reads as `Ok(None)`,
//! and the caller decides.

mod event;
mod frame;
mod media;
mod plan;
mod stats;

pub use frame::{CommandError, ParseError, parse, write};
pub(crate) use stats::write_stats;

/// A field of a message that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("field {field} is {problem}")]
pub struct FieldError {
    /// The message and field, as `Transport.cname`.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Problem {
    /// The message makes no sense without it.
    #[error("missing")]
    Missing,
    /// Its value is outside its range or alphabet.
    #[error("out of range")]
    OutOfRange,
    /// It has more elements or bytes than [`crate::limits`] allow.
    #[error("too long")]
    TooLong,
    /// It holds an enumerator that this version does not know, and that has no safe substitute.
    #[error("of an unknown kind")]
    Unknown,
}

const fn missing(field: &'static str) -> FieldError {
    FieldError { field, problem: Problem::Missing }
}

const fn out_of_range(field: &'static str) -> FieldError {
    FieldError { field, problem: Problem::OutOfRange }
}

const fn unknown(field: &'static str) -> FieldError {
    FieldError { field, problem: Problem::Unknown }
}

/// Returns `value` in its narrower type.
fn narrow<T: TryFrom<u32>>(value: u32, field: &'static str) -> Result<T, FieldError> {
    T::try_from(value).map_err(|_| out_of_range(field))
}

/// Refuses lists longer than `max`.
const fn bounded<T>(list: &[T], max: usize, field: &'static str) -> Result<(), FieldError> {
    if list.len() > max { Err(FieldError { field, problem: Problem::TooLong }) } else { Ok(()) }
}
