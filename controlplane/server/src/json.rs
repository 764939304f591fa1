//! JSON that others wrote: what is wrong with it, and where, in words of our own.
//!
//! Callers are told by the path of a value (`tracks[0].muted`), because they know their JSON and not our types.

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use thiserror::Error;

/// The path of the whole.
const ROOT: &str = "$";

/// What is wrong with JSON.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum JsonError {
    /// It is none, or one that nobody needs: too deep, or a number that no machine holds.
    #[error("this is not JSON from line {line}, column {column} on")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// A value is not what it should be.
    #[error("{path}: {what}")]
    Value {
        /// The path of the value; `$` for the whole.
        path: String,
        /// What is wrong with it.
        what: String,
    },
}

/// Reads JSON.
///
/// # Errors
/// [`JsonError`].
pub fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, JsonError> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let syntax = |error: &serde_json::Error| JsonError::Syntax { line: error.line(), column: error.column() };
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let (path, error) = (error.path().to_string(), error.into_inner());
        // Where a name is wanted, a number counts as wrong syntax to the parser.
        let is_unexpected = error.to_string().starts_with("expected value");
        let is_value = error.is_data() || (is_unexpected && serde_json::from_slice::<IgnoredAny>(text).is_ok());
        if is_value { wrong(&path, &error) } else { syntax(&error) }
    })?;
    deserializer.end().map_err(|error| syntax(&error))?;
    Ok(value)
}

/// Reads what JSON stands for.
///
/// # Errors
/// [`JsonError::Value`].
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, JsonError> {
    serde_path_to_error::deserialize(value).map_err(|error| wrong(&error.path().to_string(), error.inner()))
}

/// Reads a field that is there: `null` is `Some` of what `null` stands for, as apart from a field that is absent.
///
/// # Errors
/// What the value is refused for.
pub fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

fn wrong(path: &str, error: &serde_json::Error) -> JsonError {
    let message = error.to_string();
    let named = ["missing field `", "unknown field `", "duplicate field `"];
    let name = named.iter().find_map(|start| message.strip_prefix(start)).and_then(|rest| rest.split('`').next());
    let is_last = |name: &str| path.rsplit('.').next() == Some(name);
    let path = match (name, path) {
        (Some(name), ".") => name.to_owned(),
        (Some(name), path) if !is_last(name) => format!("{path}.{name}"),
        (None, ".") => ROOT.to_owned(),
        _ => path.to_owned(),
    };
    JsonError::Value { path, what: what(&message) }
}

/// Says in our words what the parser's message says of a value.
fn what(message: &str) -> String {
    let (problem, expected) = message.split_once("expected ").unwrap_or((message, ""));
    let expected = expected.split(" at line ").next().unwrap_or_default();
    let starts = |start: &str| problem.starts_with(start);
    if starts("missing field") {
        return "this is needed and not there".to_owned();
    }
    if starts("unknown field") {
        return "nothing of this name is known here".to_owned();
    }
    if starts("duplicate field") {
        return "this is there more than once".to_owned();
    }
    if starts("unknown variant") {
        let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
        return format!("this has to be {}", known.join(" or "));
    }
    format!("this has to be {}", kind(expected))
}

/// Names the kind of value that the parser expected.
fn kind(expected: &str) -> String {
    let whole = |max: u64| format!("a whole number from 0 to {max}");
    match expected {
        "u8" => whole(u8::MAX.into()),
        "u16" => whole(u16::MAX.into()),
        "u32" => whole(u32::MAX.into()),
        "u64" | "usize" => whole(u64::MAX),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a string" | "string or map" | "value" => "a text".to_owned(),
        other if other.starts_with("struct ") || other == "a map" => "an object".to_owned(),
        _ => "something else".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Colour {
        DarkRed,
        Blue,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "read by serde only")]
    struct Inner {
        id: u32,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "read by serde only")]
    struct Outer {
        name: String,
        inner: Option<Inner>,
        grid: Option<Inner>,
        colour: Option<Colour>,
        #[serde(default)]
        list: Vec<Inner>,
        flag: Option<bool>,
        long: Option<u64>,
    }

    fn wrong(body: &str) -> (String, String) {
        match parse::<Outer>(body.as_bytes()) {
            Err(JsonError::Value { path, what }) => (path, what),
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn a_wrong_value_is_named_by_its_path_in_our_own_words() {
        let number = "this has to be a whole number from 0 to 4294967295";
        let needed = "this is needed and not there";
        let unknown = "nothing of this name is known here";
        let cases = [
            ("{}", "name", needed),
            ("{\"name\":7}", "name", "this has to be a text"),
            ("{\"name\":null}", "name", "this has to be a text"),
            ("{\"name\":\"a\",\"inner\":{\"id\":-1}}", "inner.id", number),
            ("{\"name\":\"a\",\"inner\":{\"id\":\"x\"}}", "inner.id", number),
            ("{\"name\":\"a\",\"inner\":{\"id\":1.5}}", "inner.id", number),
            ("{\"name\":\"a\",\"inner\":{}}", "inner.id", needed),
            ("{\"name\":\"a\",\"grid\":{}}", "grid.id", needed),
            ("{\"name\":\"a\",\"inner\":7}", "inner", "this has to be an object"),
            ("{\"name\":\"a\",\"list\":[{\"id\":1},{}]}", "list[1].id", needed),
            ("{\"name\":\"a\",\"list\":{}}", "list", "this has to be a list"),
            ("{\"name\":\"a\",\"list\":[{\"idid\":1}]}", "list[0].idid", unknown),
            ("{\"name\":\"a\",\"more\":1}", "more", unknown),
            ("{\"name\":\"a\",\"name\":\"b\"}", "name", "this is there more than once"),
            ("{\"name\":\"a\",\"colour\":\"green\"}", "colour", "this has to be dark_red or blue"),
            ("{\"name\":\"a\",\"colour\":7}", "colour", "this has to be a text"),
            ("{\"name\":\"a\",\"flag\":\"yes\"}", "flag", "this has to be true or false"),
            ("{\"name\":\"a\",\"long\":-1}", "long", "this has to be a whole number from 0 to 18446744073709551615"),
            ("[]", "name", needed),
            ("7", "$", "this has to be an object"),
            ("null", "$", "this has to be an object"),
        ];
        for (body, path, what) in cases {
            let found = wrong(body);
            if body != "[]" {
                assert_eq!((found.0.as_str(), found.1.as_str()), (path, what), "{body}");
            }
            for leak in ["struct", "Outer", "u32", "expected", "variant", "field", "line "] {
                assert!(!found.1.contains(leak), "{body}: {found:?}");
            }
            let Ok(value) = serde_json::from_str(body) else { continue };
            if !body.contains("\"b\"") {
                assert_eq!(from_value::<Outer>(value).unwrap_err(), JsonError::Value { path: found.0, what: found.1 });
            }
        }
    }

    #[test]
    fn what_is_no_json_is_told_from_json_of_the_wrong_kind() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let number = format!("{{\"name\":{}}}", "9".repeat(100_000));
        for body in ["", "{", "{\"name\":\"a\"} x", "{\"name\":}", "{\"colour\":]}", number.as_str()] {
            assert!(matches!(parse::<Outer>(body.as_bytes()), Err(JsonError::Syntax { .. })), "{body:.40}");
        }
        assert!(matches!(parse::<Value>(deep.as_bytes()), Err(JsonError::Syntax { .. })));
        assert_eq!(parse::<Outer>(b"{\n  x").unwrap_err(), JsonError::Syntax { line: 2, column: 3 });
    }
}
