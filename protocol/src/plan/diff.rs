//! The way from one plan to another.

use super::{Key, Object, Plan};

/// One idempotent step: applying it twice is applying it once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Put this object under its key, whatever is there.
    Put(Box<Object>),
    /// Remove what is under this key, if anything is.
    Remove(Key),
}

/// Returns the changes that turn `have` into `want`: removals in descending order of keys, then puts in ascending order,
/// so that nothing ever refers to what is not there.
#[must_use]
pub fn diff(have: &Plan, want: &Plan) -> Vec<Change> {
    let removed = have.keys().rev().filter(|key| want.object(key).is_none()).map(|key| Change::Remove(*key));
    let put = want
        .objects()
        .filter(|object| have.object(&object.key()) != Some(object))
        .map(|object| Change::Put(Box::new(object.clone())));
    removed.chain(put).collect()
}

/// Returns the changes that turn `have` into `want` as far as `keys` go, which must be sorted and without repeats.
///
/// This is what a controller sends after it changed a few objects of a large plan.
#[must_use]
pub fn diff_keys(have: &Plan, want: &Plan, keys: &[Key]) -> Vec<Change> {
    let removed = keys
        .iter()
        .rev()
        .filter(|key| have.object(key).is_some() && want.object(key).is_none())
        .map(|key| Change::Remove(*key));
    let put = keys
        .iter()
        .filter_map(|key| want.object(key))
        .filter(|object| have.object(&object.key()) != Some(object))
        .map(|object| Change::Put(Box::new(object.clone())));
    removed.chain(put).collect()
}

/// Makes one change to `plan`.
pub fn apply(plan: &mut Plan, change: &Change) {
    match change {
        Change::Put(object) => drop(plan.put(Object::clone(object))),
        Change::Remove(key) => drop(plan.remove(key)),
    }
}
