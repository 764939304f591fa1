//! Configuration as it was given: read as far as it can be read, so that all problems are told at once.

use std::convert::Infallible;
use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// A value of a flag or of the environment that may be malformed: it is a problem like others, not the end of reading.
#[derive(Clone, Debug)]
pub struct Given<T>(Result<T, String>);

impl<T: FromStr<Err: Display>> FromStr for Given<T> {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.parse().map_err(|error| format!("{text:?} is not understood: {error}"))))
    }
}

impl<T: Clone> Given<T> {
    /// Returns the value; a malformed one is named by its key, or by its flag and variable, and leaves none.
    pub(super) fn take(&self, key: &str, problems: &mut Vec<String>) -> Option<T> {
        match &self.0 {
            Ok(value) => Some(value.clone()),
            Err(problem) => {
                problems.push(format!("{key}: {problem}"));
                None
            }
        }
    }
}

/// Reads a file of sections with keys; what cannot be read is named by its key and has its default.
pub(super) fn read<T: DeserializeOwned + Default>(path: &Path, problems: &mut Vec<String>) -> T {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            problems.push(format!("cannot read {}: {error}", path.display()));
            return T::default();
        }
    };
    let table: Table = match text.parse() {
        Ok(table) => table,
        Err(error) => {
            problems.push(format!("{} is not TOML: {error}", path.display()));
            return T::default();
        }
    };
    let mut readable = Table::new();
    for (section, keys) in table {
        let Value::Table(keys) = keys else {
            problems.push(format!("{section}: keys stand in sections, such as [{section}]"));
            continue;
        };
        if let Err(error) = try_into::<T>(&section, Table::new()) {
            problems.push(format!("{section}: {error}"));
            continue;
        }
        let mut kept = Table::new();
        for (key, value) in keys {
            match try_into::<T>(&section, Table::from_iter([(key.clone(), value.clone())])) {
                Ok(_) => drop(kept.insert(key, value)),
                Err(error) => problems.push(format!("{section}.{key}: {error}")),
            }
        }
        readable.insert(section, Value::Table(kept));
    }
    // Sections have nothing to do with each other: what can be read alone can be read together.
    Value::Table(readable).try_into().unwrap_or_default()
}

/// Reads one section alone.
fn try_into<T: DeserializeOwned>(section: &str, keys: Table) -> Result<T, String> {
    let alone = Table::from_iter([(section.to_owned(), Value::Table(keys))]);
    Value::Table(alone).try_into().map_err(|error: toml::de::Error| error.message().to_owned())
}
