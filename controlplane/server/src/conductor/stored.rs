//! Settings of rooms as the store keeps them.

use sluice_controlplane_core::room::RoomSettings;

/// Returns settings as the store keeps them.
pub(super) fn stored_settings(settings: &RoomSettings) -> String {
    let text = serde_json::json!({ "settings": settings, "metadata": settings.metadata });
    text.to_string()
}

/// Reads settings as the store keeps them; `None` when a later version wrote what this one cannot read.
pub(super) fn settings_of(text: &str) -> Option<RoomSettings> {
    let mut value: serde_json::Value = serde_json::from_str(text).ok()?;
    let metadata = value.get("metadata")?.as_str()?.to_owned();
    let settings: RoomSettings = serde_json::from_value(value.get_mut("settings")?.take()).ok()?;
    Some(RoomSettings { metadata, ..settings })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_were_stored_are_read_and_what_a_later_version_wrote_is_refused() {
        let settings =
            RoomSettings { name: "Ann's".to_owned(), metadata: "{\"a\":1}".to_owned(), ..RoomSettings::default() };
        assert_eq!(settings_of(&stored_settings(&settings)), Some(settings));
        for unreadable in ["", "{}", "{\"metadata\":\"\"}", "{\"metadata\":\"\",\"settings\":{\"name\":7}}"] {
            assert_eq!(settings_of(unreadable), None, "{unreadable}");
        }
    }
}
