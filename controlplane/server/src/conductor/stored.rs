//! Settings of rooms, and removals from them, as the store keeps them.

use sluice_controlplane_core::room::{Identity, RemovedFrom, RoomSettings};

use crate::store::StoredRemoval;

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

/// Returns whose tokens a removal voids, and up to which second.
pub(super) fn removed(removal: StoredRemoval) -> (Identity, u64) {
    (Identity(removal.identity), u64::try_from(removal.void_until).unwrap_or(0))
}

/// Returns which room a removal was from, when the one that is there now was created at `created_at_ms`. Of the same second
/// it is taken for this one, which is stricter.
pub(super) const fn removed_from(removal: &StoredRemoval, created_at_ms: i64) -> RemovedFrom {
    if removal.void_until < created_at_ms / 1000 { RemovedFrom::EarlierRoom } else { RemovedFrom::ThisRoom }
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
