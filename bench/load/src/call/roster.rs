//! Who is in the room and publishes what, as a participant was told.

use std::collections::BTreeMap;

use serde_json::Value;

use super::session::{kind, text};

/// Tracks of somebody, each with whether it is muted.
pub(crate) type Tracks = BTreeMap<String, bool>;

/// Everybody else in the room, by identity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Roster {
    others: BTreeMap<String, Other>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Other {
    identity: String,
    tracks: Tracks,
}

impl Roster {
    /// Reads `room_joined`.
    pub(crate) fn of_room(joined: &Value) -> Self {
        let mut roster = Self::default();
        for participant in list(joined, "participants") {
            roster.enter(participant);
        }
        roster
    }

    /// Takes news; false when they do not fit what was told before.
    pub(crate) fn handle(&mut self, message: &Value) -> bool {
        let participant_id = text(message, "participant_id");
        match kind(message) {
            "participant_joined" => message.get("participant").is_some_and(|participant| self.enter(participant)),
            "participant_updated" => {
                if let Some(participant) = message.get("participant") {
                    let id = text(participant, "id");
                    if self.others.contains_key(&id) {
                        self.enter(participant);
                    }
                }
                true
            }
            "participant_left" => self.others.remove(&participant_id).is_some(),
            "track_published" => match (self.others.get_mut(&participant_id), message.get("track")) {
                (Some(other), Some(track)) => {
                    other.tracks.insert(text(track, "id"), is_muted(track));
                    true
                }
                _ => false,
            },
            "track_unpublished" => {
                let other = self.others.get_mut(&participant_id);
                other.is_some_and(|other| other.tracks.remove(&text(message, "track_id")).is_some())
            }
            "track_muted" => {
                let track = self.others.get_mut(&participant_id);
                let track = track.and_then(|other| other.tracks.get_mut(&text(message, "track_id")));
                track.is_some_and(|muted| {
                    *muted = is_muted(message);
                    true
                })
            }
            _ => true,
        }
    }

    /// Tracks of everybody by identity.
    pub(crate) fn tracks(&self) -> BTreeMap<String, Tracks> {
        self.others.values().map(|other| (other.identity.clone(), other.tracks.clone())).collect()
    }

    /// Tracks that are to be heard and seen.
    pub(crate) fn audible(&self) -> Vec<String> {
        let tracks = self.others.values().flat_map(|other| &other.tracks);
        tracks.filter(|(_, muted)| !**muted).map(|(id, _)| id.clone()).collect()
    }

    /// False when it was there already.
    fn enter(&mut self, participant: &Value) -> bool {
        let tracks = list(participant, "tracks").iter().map(|track| (text(track, "id"), is_muted(track))).collect();
        let other = Other { identity: text(participant, "identity"), tracks };
        self.others.insert(text(participant, "id"), other).is_none()
    }
}

fn is_muted(value: &Value) -> bool {
    value.get("muted").and_then(Value::as_bool).unwrap_or_default()
}

/// A list of a message; empty when it is not there.
pub(crate) fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn news_lead_to_the_room_as_it_is_and_those_that_do_not_fit_are_noticed() {
        let track = json!({"id": "TR_1", "muted": false});
        let mut roster =
            Roster::of_room(&json!({"participants": [{"id": "PA_1", "identity": "ann", "tracks": [track]}]}));
        assert_eq!(roster.audible(), ["TR_1"]);
        let published =
            json!({"type": "track_published", "participant_id": "PA_2", "track": {"id": "TR_2", "muted": true}});
        assert!(!roster.handle(&published), "of somebody who never came");
        assert!(
            roster.handle(&json!({"type": "participant_joined", "participant": {"id": "PA_2", "identity": "ben"}}))
        );
        assert!(roster.handle(&published));
        assert_eq!(roster.audible(), ["TR_1"]);
        let muted = |id: &str, track: &str, muted| json!({"type": "track_muted", "participant_id": id, "track_id": track, "muted": muted});
        assert!(roster.handle(&muted("PA_2", "TR_2", false)) && roster.handle(&muted("PA_1", "TR_1", true)));
        assert!(!roster.handle(&muted("PA_1", "TR_9", true)));
        assert_eq!(roster.audible(), ["TR_2"]);
        let gone = json!({"type": "track_unpublished", "participant_id": "PA_1", "track_id": "TR_1"});
        assert!(roster.handle(&gone) && !roster.handle(&gone));
        let left = json!({"type": "participant_left", "participant_id": "PA_1"});
        assert!(roster.handle(&left) && !roster.handle(&left));
        let ben = Tracks::from([("TR_2".to_owned(), false)]);
        assert_eq!(roster.tracks(), BTreeMap::from([("ben".to_owned(), ben)]));
    }
}
