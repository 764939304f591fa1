//! Who may do what: roles, permissions, the claims of tokens, and the matrix of role and endpoint.
//!
//! Verifying a token's signature, and what time it is, are the server's; everything here is a pure function of claims
//! that were verified.

use serde::{Deserialize, Serialize};
use sluice_protocol::media::MediaKind;

use crate::limits;

/// A participant's role in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Subscribes only.
    Attendee,
    /// Publishes and subscribes.
    Speaker,
    /// Publishes, subscribes and manages.
    Host,
}

/// What a track shows or sounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A camera; what WHIP's video is taken for.
    Camera,
    /// A microphone; what WHIP's audio is taken for.
    Microphone,
    /// A screen.
    ScreenShare,
    /// The sound of a screen.
    ScreenShareAudio,
}

impl Source {
    /// Returns what kind of media it is.
    #[must_use]
    pub const fn kind(self) -> MediaKind {
        match self {
            Self::Camera | Self::ScreenShare => MediaKind::Video,
            Self::Microphone | Self::ScreenShareAudio => MediaKind::Audio,
        }
    }
}

/// Fine-grained permissions of a token, each overriding what the role says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PermissionOverrides {
    /// Whether tracks may be published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_publish: Option<bool>,
    /// Which sources may be published; absent for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_publish_sources: Option<Vec<Source>>,
    /// Whether tracks may be subscribed to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_subscribe: Option<bool>,
    /// Whether data may be published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_publish_data: Option<bool>,
    /// Whether others are not told of the participant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden: Option<bool>,
    /// Whether the participant records the room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorder: Option<bool>,
}

/// What a participant may do: its role with the overrides applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "the permissions that applications know by these names")]
pub struct Permissions {
    /// Whether it may publish tracks.
    pub can_publish: bool,
    /// Which sources it may publish; absent for all.
    pub can_publish_sources: Option<Vec<Source>>,
    /// Whether it may subscribe to tracks.
    pub can_subscribe: bool,
    /// Whether it may publish data.
    pub can_publish_data: bool,
    /// Whether it may manage the room and its participants.
    pub can_manage: bool,
    /// Whether others are not told of it.
    pub hidden: bool,
    /// Whether it records the room.
    pub recorder: bool,
}

impl Permissions {
    /// Applies `overrides` to what `role` may do.
    #[must_use]
    pub fn of(role: Role, overrides: &PermissionOverrides) -> Self {
        let publishes = role >= Role::Speaker;
        Self {
            can_publish: overrides.can_publish.unwrap_or(publishes),
            can_publish_sources: overrides.can_publish_sources.clone(),
            can_subscribe: overrides.can_subscribe.unwrap_or(true),
            can_publish_data: overrides.can_publish_data.unwrap_or(publishes),
            can_manage: role == Role::Host,
            hidden: overrides.hidden.unwrap_or(false),
            recorder: overrides.recorder.unwrap_or(false),
        }
    }

    /// Tells whether these allow everything that `other` allow.
    #[must_use]
    pub fn cover(&self, other: &Self) -> bool {
        let has_sources = self.can_publish_sources.as_ref().is_none_or(|own| {
            let others = other.can_publish_sources.as_ref();
            others.is_some_and(|others| others.iter().all(|source| own.contains(source)))
        });
        let flags = |own: &Self| {
            [own.can_publish, own.can_subscribe, own.can_publish_data, own.can_manage, own.hidden, own.recorder]
        };
        has_sources && flags(self).iter().zip(flags(other)).all(|(own, other)| *own || !other)
    }

    /// Tells whether a track from `source` may be published.
    #[must_use]
    pub fn allows_source(&self, source: Source) -> bool {
        self.can_publish && self.can_publish_sources.as_ref().is_none_or(|sources| sources.contains(&source))
    }
}

/// One room or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RoomClaim {
    /// One room's id.
    One(String),
    /// Ids of several rooms, at most [`limits::ROOMS_PER_TOKEN_MAX`].
    Many(Vec<String>),
}

/// The claims of a participant's token. Unknown claims are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The rooms that the token admits to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room_id: Option<RoomClaim>,
    /// The identity.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user_id: String,
    /// The displayed name; the identity when empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The role in the rooms.
    #[serde(default = "default_role")]
    pub role: Role,
    /// What overrides the role.
    #[serde(default)]
    pub permissions: PermissionOverrides,
    /// Anything that the application wants others to see.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub metadata: String,
    /// When the token ends, in seconds since 1970.
    pub exp: u64,
    /// When the token was issued, in seconds since 1970; a token without it cannot be told from one that was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iat: Option<u64>,
    /// When the room was created, in milliseconds since 1970: in tokens that the server issues. They end with the room,
    /// and do not open another one that takes its id later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room_created_at: Option<u64>,
    /// Whether the server issued it to a guest, whose identity nobody else can have: it enters other rooms as a guest too,
    /// as far as these take guests.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub guest: bool,
    /// Whether the token opens REST administration.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub admin: bool,
}

const fn default_role() -> Role {
    Role::Attendee
}

/// Why claims are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// The token has ended.
    #[error("the token has expired")]
    Expired,
    /// The token is for other rooms.
    #[error("the token is not for this room")]
    WrongRoom,
    /// No identity, or one that is not of the form `[A-Za-z0-9_-]{1,64}`.
    #[error("the token's user_id is missing or not of the form [A-Za-z0-9_-]{{1,64}}")]
    BadIdentity,
    /// Name or metadata are too long, or too many rooms are named.
    #[error("the token's name or metadata is too long, or it names too many rooms")]
    TooLong,
    /// The role does not open this.
    #[error("the token's role does not allow this")]
    Forbidden,
}

impl Claims {
    /// Checks everything but the signature for entering `room`; `now_seconds` since 1970.
    ///
    /// # Errors
    /// [`AccessError`], the first that applies.
    pub fn admit_to(&self, room: &str, now_seconds: u64) -> Result<(), AccessError> {
        if self.exp <= now_seconds {
            return Err(AccessError::Expired);
        }
        let names_room = match &self.room_id {
            Some(RoomClaim::One(one)) => one == room,
            Some(RoomClaim::Many(many)) if many.len() > limits::ROOMS_PER_TOKEN_MAX => {
                return Err(AccessError::TooLong);
            }
            Some(RoomClaim::Many(many)) => many.iter().any(|one| one == room),
            None => self.admin,
        };
        if !names_room {
            return Err(AccessError::WrongRoom);
        }
        if !is_id(&self.user_id) {
            return Err(AccessError::BadIdentity);
        }
        if self.name.len() > limits::NAME_BYTES_MAX || self.metadata.len() > limits::METADATA_BYTES_MAX {
            return Err(AccessError::TooLong);
        }
        Ok(())
    }

    /// Returns who calls when it shows these claims to an endpoint of `room`.
    ///
    /// # Errors
    /// [`AccessError::Expired`].
    pub fn caller(&self, room: Option<&str>, now_seconds: u64) -> Result<Caller, AccessError> {
        if self.exp <= now_seconds {
            return Err(AccessError::Expired);
        }
        if self.admin {
            return Ok(Caller::Admin);
        }
        let is_admitted = room.is_some_and(|room| self.admit_to(room, now_seconds).is_ok());
        Ok(match (is_admitted, self.role) {
            (false, _) => Caller::Stranger,
            (true, Role::Host) => Caller::Host,
            (true, Role::Speaker) => Caller::Speaker,
            (true, Role::Attendee) => Caller::Attendee,
        })
    }
}

/// Tells whether `text` may be an id of a room or an identity: `[A-Za-z0-9_-]{1,64}`.
#[must_use]
pub fn is_id(text: &str) -> bool {
    (1..=limits::ID_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// Who calls an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// An API key's secret, or a token with the claim `admin`.
    Admin,
    /// A host of the room that the endpoint names.
    Host,
    /// A speaker of it.
    Speaker,
    /// An attendee of it.
    Attendee,
    /// A token for other rooms, or nobody.
    Stranger,
}

impl Caller {
    /// All callers, in the order of the columns of [`MATRIX`].
    pub const ALL: [Self; 5] = [Self::Admin, Self::Host, Self::Speaker, Self::Attendee, Self::Stranger];
}

/// An endpoint, by what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is described by its row of the matrix")]
pub enum Endpoint {
    CreateRoom,
    ListRooms,
    ReadRoom,
    UpdateRoom,
    DeleteRoom,
    ListParticipants,
    AdmitParticipant,
    UpdateParticipant,
    RemoveParticipant,
    IssueToken,
    StartRoom,
    StopRoom,
    RoomEvents,
    AllEvents,
    Publish,
    Play,
    Signal,
    Metrics,
    Health,
}

/// One row of [`MATRIX`].
#[derive(Clone, Copy, Debug)]
pub struct MatrixRow {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Its method and path.
    pub route: &'static str,
    /// Whether each of [`Caller::ALL`] may.
    pub allowed: [bool; 5],
}

const fn row(endpoint: Endpoint, route: &'static str, allowed: [u8; 5]) -> MatrixRow {
    let [admin, host, speaker, attendee, stranger] = allowed;
    MatrixRow { endpoint, route, allowed: [admin == 1, host == 1, speaker == 1, attendee == 1, stranger == 1] }
}

/// Role × endpoint. Administration (rooms as such) is closed to participants' tokens; a host manages the people of its own
/// room, and over its signalling connection the room itself. A speaker publishes and an attendee plays as far as their
/// permissions go. What `--guests` opens to strangers is the server's configuration and not in this table.
pub const MATRIX: [MatrixRow; 19] = [
    row(Endpoint::CreateRoom, "POST /api/rooms", [1, 0, 0, 0, 0]),
    row(Endpoint::ListRooms, "GET /api/rooms", [1, 0, 0, 0, 0]),
    row(Endpoint::ReadRoom, "GET /api/rooms/{room_id}", [1, 1, 1, 1, 0]),
    row(Endpoint::UpdateRoom, "PATCH /api/rooms/{room_id}", [1, 0, 0, 0, 0]),
    row(Endpoint::DeleteRoom, "DELETE /api/rooms/{room_id}", [1, 0, 0, 0, 0]),
    row(Endpoint::ListParticipants, "GET /api/rooms/{room_id}/participants", [1, 1, 1, 1, 0]),
    row(Endpoint::AdmitParticipant, "POST /api/rooms/{room_id}/participants", [1, 1, 0, 0, 0]),
    row(Endpoint::UpdateParticipant, "PATCH /api/rooms/{room_id}/participants/{participant_id}", [1, 1, 0, 0, 0]),
    row(Endpoint::RemoveParticipant, "DELETE /api/rooms/{room_id}/participants/{participant_id}", [1, 1, 0, 0, 0]),
    row(Endpoint::IssueToken, "POST /api/rooms/{room_id}/tokens", [1, 1, 0, 0, 0]),
    row(Endpoint::StartRoom, "POST /api/rooms/{room_id}/start", [1, 1, 0, 0, 0]),
    row(Endpoint::StopRoom, "POST /api/rooms/{room_id}/stop", [1, 1, 0, 0, 0]),
    row(Endpoint::RoomEvents, "GET /api/rooms/{room_id}/events", [1, 1, 1, 1, 0]),
    row(Endpoint::AllEvents, "GET /api/events", [1, 0, 0, 0, 0]),
    row(Endpoint::Publish, "POST /whip/{room_id}", [1, 1, 1, 1, 0]),
    row(Endpoint::Play, "POST /whep/{room_id}", [1, 1, 1, 1, 0]),
    row(Endpoint::Signal, "GET /ws", [1, 1, 1, 1, 0]),
    row(Endpoint::Metrics, "GET /metrics", [1, 0, 0, 0, 0]),
    row(Endpoint::Health, "GET /api/health", [1, 1, 1, 1, 1]),
];

/// Tells whether `caller` may use `endpoint`. Publishing and playing further depend on [`Permissions`], which the room
/// checks.
#[must_use]
pub fn allows(caller: Caller, endpoint: Endpoint) -> bool {
    let column = Caller::ALL.iter().position(|known| *known == caller);
    let row = MATRIX.iter().find(|row| row.endpoint == endpoint);
    row.zip(column).and_then(|(row, column)| row.allowed.get(column)).copied().unwrap_or(false)
}

/// Returns the role that a caller may give to others at most; `None` for nobody's.
#[must_use]
pub const fn role_to_grant(caller: Caller) -> Option<Role> {
    match caller {
        Caller::Admin | Caller::Host => Some(Role::Host),
        Caller::Speaker | Caller::Attendee | Caller::Stranger => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        serde_json::from_str(r#"{"room_id":"a","user_id":"u","role":"host","exp":100,"later":1}"#).unwrap()
    }

    #[test]
    fn claims_admit_to_their_rooms_until_they_end() {
        let list = Claims { room_id: Some(RoomClaim::Many(vec!["a".to_owned(), "b".to_owned()])), ..claims() };
        assert_eq!(claims().admit_to("a", 99), Ok(()));
        assert_eq!(claims().admit_to("a", 100), Err(AccessError::Expired));
        assert_eq!(claims().admit_to("b", 99), Err(AccessError::WrongRoom));
        assert_eq!(list.admit_to("b", 99), Ok(()));
        for user_id in ["", "a b", &"x".repeat(65)] {
            let bad = Claims { user_id: user_id.to_owned(), ..claims() };
            assert_eq!(bad.admit_to("a", 99), Err(AccessError::BadIdentity), "{user_id:?}");
        }
    }

    #[test]
    fn participants_tokens_never_administer_rooms() {
        let administration = [Endpoint::CreateRoom, Endpoint::ListRooms, Endpoint::UpdateRoom, Endpoint::DeleteRoom];
        for endpoint in administration.into_iter().chain([Endpoint::AllEvents, Endpoint::Metrics]) {
            for caller in Caller::ALL {
                assert_eq!(allows(caller, endpoint), caller == Caller::Admin, "{endpoint:?} {caller:?}");
            }
        }
        let admin = Claims { admin: true, ..claims() };
        assert_eq!(admin.caller(None, 1), Ok(Caller::Admin));
        assert_eq!(claims().caller(Some("a"), 1), Ok(Caller::Host));
        assert_eq!(claims().caller(Some("b"), 1), Ok(Caller::Stranger));
        assert_eq!(admin.caller(None, 100), Err(AccessError::Expired));
    }

    #[test]
    fn every_endpoint_stands_in_the_matrix_once_and_rights_only_shrink() {
        for row in MATRIX {
            assert_eq!(MATRIX.iter().filter(|other| other.endpoint == row.endpoint).count(), 1, "{}", row.route);
            assert!(row.allowed.windows(2).all(|pair| pair[0] >= pair[1]), "{}", row.route);
        }
    }

    #[test]
    fn overrides_win_over_roles() {
        let none = PermissionOverrides::default();
        assert!(
            !Permissions::of(Role::Attendee, &none).can_publish && Permissions::of(Role::Speaker, &none).can_publish
        );
        let overrides = PermissionOverrides {
            can_publish: Some(true),
            can_publish_sources: Some(vec![Source::Camera]),
            can_subscribe: Some(false),
            ..PermissionOverrides::default()
        };
        let permissions = Permissions::of(Role::Attendee, &overrides);
        assert!(permissions.allows_source(Source::Camera) && !permissions.allows_source(Source::Microphone));
        assert!(!permissions.can_subscribe && !permissions.can_manage);
    }

    #[test]
    fn permissions_cover_what_is_less_and_nothing_that_is_more() {
        let of = |role, overrides: &PermissionOverrides| Permissions::of(role, overrides);
        let none = PermissionOverrides::default();
        let roles = [Role::Attendee, Role::Speaker, Role::Host];
        for (own, other) in roles.into_iter().flat_map(|own| roles.map(|other| (own, other))) {
            assert_eq!(of(own, &none).cover(&of(other, &none)), own >= other, "{own:?} {other:?}");
        }
        let sources = |sources: &[Source]| {
            let can_publish_sources = Some(sources.to_vec());
            of(Role::Speaker, &PermissionOverrides { can_publish_sources, ..none.clone() })
        };
        let (one, both) = (sources(&[Source::Camera]), sources(&[Source::Microphone, Source::Camera]));
        assert!(both.cover(&one) && !one.cover(&both) && both.cover(&both));
        let all = of(Role::Speaker, &none);
        assert!(all.cover(&both) && !both.cover(&all));
        let hidden = of(Role::Host, &PermissionOverrides { hidden: Some(true), ..none.clone() });
        assert!(hidden.cover(&all) && !of(Role::Host, &none).cover(&hidden));
    }
}
