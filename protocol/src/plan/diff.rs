//! The way from one plan to another.

use std::collections::BTreeSet;

use super::{Key, Object, Plan};

/// One idempotent step: applying it twice is applying it once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Put this object under its key, whatever is there.
    Put(Box<Object>),
    /// Remove what is under this key, if anything is.
    Remove(Key),
}

/// Returns the changes that turn `have` into `want`.
///
/// A controller never compares whole plans but after a restart: it collects the keys that it touches, and then asks for
/// their [`changes`].
#[must_use]
pub fn diff(have: &Plan, want: &Plan) -> Vec<Change> {
    changes(want, &differing(have, want))
}

/// Returns the keys under which two plans differ.
#[must_use]
pub fn differing(have: &Plan, want: &Plan) -> BTreeSet<Key> {
    let keys = have.keys().chain(want.keys());
    keys.filter(|key| have.object(key) != want.object(key)).copied().collect()
}

/// Returns the changes that bring any plan to `want` as far as `keys` go: removals in descending order, then puts in
/// ascending order, so that nothing ever refers to what is not there.
///
/// What is not wanted is removed also where it may never have been: only the acknowledgement of its absence gives its slot
/// back.
#[must_use]
pub fn changes(want: &Plan, keys: &BTreeSet<Key>) -> Vec<Change> {
    let removed = keys.iter().rev().filter(|key| want.object(key).is_none()).map(|key| Change::Remove(*key));
    let put = keys.iter().filter_map(|key| want.object(key)).map(|object| Change::Put(Box::new(object.clone())));
    removed.chain(put).collect()
}

/// Makes one change to `plan`.
pub fn apply(plan: &mut Plan, change: &Change) {
    match change {
        Change::Put(object) => drop(plan.put(Object::clone(object))),
        Change::Remove(key) => drop(plan.remove(key)),
    }
}
