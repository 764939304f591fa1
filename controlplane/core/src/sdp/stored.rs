//! How media parameters of the contract stand in cookies: as bare numbers and texts.

macro_rules! number {
    ($name:ident, $option:ident, $type:ident, $raw:ty) => {
        pub(crate) mod $name {
            use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};
            use sluice_protocol::media::$type;

            pub(crate) fn serialize<S: Serializer>(value: &$type, serializer: S) -> Result<S::Ok, S::Error> {
                value.0.serialize(serializer)
            }

            pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                <$raw>::deserialize(deserializer).map($type)
            }
        }

        pub(crate) mod $option {
            use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};
            use sluice_protocol::media::$type;

            pub(crate) fn serialize<S: Serializer>(value: &Option<$type>, serializer: S) -> Result<S::Ok, S::Error> {
                value.map(|value| value.0).serialize(serializer)
            }

            pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<$type>, D::Error> {
                Ok(Option::<$raw>::deserialize(deserializer)?.map($type))
            }
        }
    };
}

number!(payload_type, payload_type_option, PayloadType, u8);
number!(ssrc, ssrc_option, Ssrc, u32);

/// A mid as its text.
pub(crate) mod mid {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de::Error as _};
    use sluice_protocol::media::{Label, Mid};

    pub(crate) fn serialize<S: Serializer>(mid: &Mid, serializer: S) -> Result<S::Ok, S::Error> {
        mid.0.as_str().serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Mid, D::Error> {
        let text = String::deserialize(deserializer)?;
        Label::new(text.as_bytes()).map(Mid).ok_or_else(|| D::Error::custom("not a mid"))
    }
}

/// A rid as its text.
pub(crate) mod rid_option {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};
    use sluice_protocol::media::{Label, Rid};

    pub(crate) fn serialize<S: Serializer>(rid: &Option<Rid>, serializer: S) -> Result<S::Ok, S::Error> {
        rid.as_ref().map(|rid| rid.0.as_str()).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Rid>, D::Error> {
        Ok(Option::<String>::deserialize(deserializer)?.and_then(|text| Label::new(text.as_bytes()).map(Rid)))
    }
}

/// Extension ids as a list in the order of the contract's fields; a longer one is from a later version, a shorter one
/// from an earlier.
pub(crate) mod extensions {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};
    use sluice_protocol::media::ExtensionIds;

    pub(crate) fn serialize<S: Serializer>(ids: &ExtensionIds, serializer: S) -> Result<S::Ok, S::Error> {
        let ExtensionIds {
            mid,
            rid,
            repaired_rid,
            audio_level,
            abs_send_time,
            transport_sequence,
            playout_delay,
            video_orientation,
            dependency_descriptor,
        } = *ids;
        [
            mid,
            rid,
            repaired_rid,
            audio_level,
            abs_send_time,
            transport_sequence,
            playout_delay,
            video_orientation,
            dependency_descriptor,
        ]
        .serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ExtensionIds, D::Error> {
        let list = Vec::<u8>::deserialize(deserializer)?;
        let at = |index: usize| list.get(index).copied().unwrap_or(0);
        Ok(ExtensionIds {
            mid: at(0),
            rid: at(1),
            repaired_rid: at(2),
            audio_level: at(3),
            abs_send_time: at(4),
            transport_sequence: at(5),
            playout_delay: at(6),
            video_orientation: at(7),
            dependency_descriptor: at(8),
        })
    }
}
