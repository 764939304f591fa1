//! API keys: an id that may be seen and a secret that may not.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Characters of an id, as of all ids in the API.
const ID_CHARACTERS_MAX: usize = 64;
/// The shortest secret taken from configuration; generated ones have 43 characters, 256 bits.
const SECRET_CHARACTERS_MIN: usize = 16;
/// The longest secret.
const SECRET_CHARACTERS_MAX: usize = 256;

/// An API key. Its secret is never printed but where [`ApiKey::reveal`] is called.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    id: String,
    secret: String,
}

impl ApiKey {
    /// Reads `ID:SECRET`; `None` when the id is not `[A-Za-z0-9_-]{1,64}` or the secret is not 16 to 256 visible ASCII
    /// characters.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.split_once(':')?;
        Self::new(id, secret)
    }

    /// Makes a key from its parts, which are checked as in [`ApiKey::parse`].
    #[must_use]
    pub fn new(id: &str, secret: &str) -> Option<Self> {
        let id_valid = (1..=ID_CHARACTERS_MAX).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        let secret_valid = (SECRET_CHARACTERS_MIN..=SECRET_CHARACTERS_MAX).contains(&secret.len())
            && secret.bytes().all(|byte| byte.is_ascii_graphic());
        (id_valid && secret_valid).then(|| Self { id: id.to_owned(), secret: secret.to_owned() })
    }

    /// Generates a key with 256 random bits.
    #[must_use]
    pub fn generate(id: &str) -> Self {
        let bits: [u8; 32] = rand::random();
        Self { id: id.to_owned(), secret: URL_SAFE_NO_PAD.encode(bits) }
    }

    /// Returns the id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the secret's bytes, which sign tokens.
    #[must_use]
    pub fn secret_bytes(&self) -> &[u8] {
        self.secret.as_bytes()
    }

    /// Returns the secret, for storing it and for telling it to its owner.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.secret
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ApiKey({}, redacted)", self.id)
    }
}

/// The keys that are valid now.
#[derive(Clone, Debug, Default)]
pub struct KeyRing {
    keys: Vec<ApiKey>,
}

impl KeyRing {
    /// Makes a ring of keys; of several with one id the last counts.
    #[must_use]
    pub fn new(keys: impl IntoIterator<Item = ApiKey>) -> Self {
        let mut ring = Self::default();
        for key in keys {
            ring.keys.retain(|known| known.id != key.id);
            ring.keys.push(key);
        }
        ring
    }

    /// Returns the key with this id.
    #[must_use]
    pub fn by_id(&self, id: &str) -> Option<&ApiKey> {
        self.keys.iter().find(|key| key.id == id)
    }

    /// Returns the key with this secret; all are compared, each in the same time.
    #[must_use]
    pub fn by_secret(&self, secret: &str) -> Option<&ApiKey> {
        self.keys.iter().fold(None, |found, key| {
            let is_equal = verify_slices_are_equal(key.secret_bytes(), secret.as_bytes()).is_ok();
            if is_equal { Some(key) } else { found }
        })
    }

    /// Returns the first key, which signs what the server issues itself.
    #[must_use]
    pub fn signing(&self) -> Option<&ApiKey> {
        self.keys.first()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_checked_and_not_printed() {
        let key = ApiKey::parse("main:0123456789abcdef").unwrap();
        assert_eq!((key.id(), key.reveal()), ("main", "0123456789abcdef"));
        assert!(!format!("{key:?}").contains("0123456789"));
        for bad in ["", "main", ":0123456789abcdef", "ma in:0123456789abcdef", "main:short", "main:0123456789 bcdef"] {
            assert_eq!(ApiKey::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn generated_secrets_differ_and_are_valid_keys() {
        let (first, second) = (ApiKey::generate("a"), ApiKey::generate("a"));
        assert_ne!(first, second);
        assert_eq!(ApiKey::parse(&format!("a:{}", first.reveal())), Some(first));
    }

    #[test]
    fn a_ring_finds_keys_by_id_and_by_secret() {
        let (first, second) = (ApiKey::generate("a"), ApiKey::generate("b"));
        let ring = KeyRing::new([first.clone(), second.clone()]);
        assert_eq!(ring.by_id("b"), Some(&second));
        assert_eq!(ring.by_secret(first.reveal()), Some(&first));
        assert_eq!(ring.by_secret("something else!!"), None);
        assert_eq!(ring.signing(), Some(&first));
    }
}
