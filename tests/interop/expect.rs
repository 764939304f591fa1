//! What may fail: `expect.toml`.

use std::future::Future;

use anyhow::Result;

const ROWS: &str = include_str!("expect.toml");

/// A test that may fail.
struct Row {
    test: String,
    /// A piece of what the failure says.
    says: String,
    reason: String,
}

fn rows() -> Vec<Row> {
    let document: toml::Table = toml::from_str(ROWS).expect("expect.toml is TOML");
    let list = document.get("row").and_then(toml::Value::as_array).cloned().unwrap_or_default();
    let field =
        |row: &toml::Value, key: &str| row.get(key).and_then(toml::Value::as_str).unwrap_or_default().to_owned();
    list.iter()
        .map(|row| Row { test: field(row, "test"), says: field(row, "says"), reason: field(row, "reason") })
        .collect()
}

/// Runs the body of the test `name`, and holds the outcome against its row, where it has one.
pub(crate) async fn judged(name: &str, body: impl Future<Output = Result<()>>) {
    let row = rows().into_iter().find(|row| row.test == name);
    match (body.await, row) {
        (Ok(()), None) => {}
        (Err(error), None) => panic!("{error:#}"),
        (Err(error), Some(row)) => {
            let said = format!("{error:#}");
            assert!(said.contains(&row.says), "{name} fails in another way than expect.toml says:\n{said}");
            println!("expected failure: {name}: {}", row.reason);
        }
        (Ok(()), Some(row)) => panic!("{name} passes, though expect.toml says: {}", row.reason),
    }
}

#[test]
fn every_row_names_a_test_and_a_reason() {
    for row in rows() {
        assert!(crate::pairs::NAMES.contains(&row.test.as_str()), "there is no test {}", row.test);
        assert!(!row.says.is_empty(), "{} needs what its failure says", row.test);
        assert!(row.reason.split_whitespace().count() > 5, "{} needs a reason in words", row.test);
    }
}
