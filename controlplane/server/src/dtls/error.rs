//! Why an association failed, and whose fault it is.

/// Why an association failed. Everything but [`Error::Certificate`] accuses the peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The handshake did not end within [`super::limits::HANDSHAKE_DEADLINE`].
    #[error("the DTLS handshake did not end in time")]
    HandshakeTimeout,
    /// The deadline was over and the client had sent nothing but messages that are no `ClientHello` of DTLS 1.2.
    #[error("the client's ClientHello is not one of DTLS 1.2")]
    ClientHello,
    /// The client offers no SRTP profile that we have (RFC 5764 section 4.1).
    #[error("the client offers none of the SRTP profiles AEAD_AES_128_GCM, AEAD_AES_256_GCM, AES_CM_128_HMAC_SHA1_80")]
    NoSrtpProfile,
    /// The client does not offer `TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256`.
    #[error("the client does not offer the cipher suite TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256")]
    NoCipherSuite,
    /// The client does not offer the extended master secret (RFC 7627).
    #[error("the client does not offer the extended master secret")]
    NoExtendedMasterSecret,
    /// The client sent no certificate.
    #[error("the client sent no certificate")]
    NoClientCertificate,
    /// The client's certificate is not the one whose fingerprint its SDP gave (RFC 8122 section 6.2).
    #[error("the client's certificate does not have the fingerprint of its SDP")]
    FingerprintMismatch,
    /// The peer ended the handshake or the association with a fatal alert of this number (RFC 5246 section 7.2).
    #[error("the peer sent the fatal alert {0}")]
    PeerAlert(u8),
    /// A parked state is not one of ours, or its record numbers are used up.
    #[error("the parked DTLS state cannot be used: {0}")]
    State(&'static str),
    /// A certificate could not be made or read back.
    #[error("the DTLS certificate cannot be used: {0}")]
    Certificate(String),
    /// The SDP's fingerprint is not a usable one (RFC 8122 section 5).
    #[error("the fingerprint cannot be used: {0}")]
    Fingerprint(&'static str),
    /// Application data was given before the handshake ended, after the association closed, or too much at once.
    #[error("application data cannot be sent: {0}")]
    ApplicationData(&'static str),
    /// The handshake failed otherwise: a certificate or signature that cannot be verified, a key of no curve, a Finished
    /// that does not fit what was said.
    #[error("the DTLS handshake failed: {0}")]
    Handshake(&'static str),
}
