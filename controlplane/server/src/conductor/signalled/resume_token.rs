//! The token that resumes a session: the session's id, which stands in logs, with a tag that only this node can make. It
//! outlives the control plane, as the node's secret does.

use std::fmt::Write as _;

use aws_lc_rs::hmac;
use sluice_controlplane_core::session::SessionId;
use sluice_protocol::ice::NodeSecret;

use super::limits::RESUME_TOKEN_BYTES_MAX;

/// What is tagged, so that no other tag of the node's secret is one of these.
const PURPOSE: &str = "sluice resume\n";

/// Returns the token of a session.
pub(super) fn resume_token(secret: &NodeSecret, session: &SessionId) -> String {
    let tag = hmac::sign(&key(secret), message(session).as_bytes());
    let mut token = format!("{session}.");
    for byte in tag.as_ref().iter().take(16) {
        // Writing to a string cannot fail.
        let _written = write!(token, "{byte:02x}");
    }
    token
}

/// Returns the session that a token resumes, if this node made it.
pub(super) fn session_of(secret: &NodeSecret, token: &str) -> Option<SessionId> {
    if token.len() > RESUME_TOKEN_BYTES_MAX {
        return None;
    }
    let (session, _) = token.split_once('.')?;
    let session = SessionId(session.to_owned());
    let own = resume_token(secret, &session);
    let is_own = aws_lc_rs::constant_time::verify_slices_are_equal(own.as_bytes(), token.as_bytes()).is_ok();
    is_own.then_some(session)
}

fn key(secret: &NodeSecret) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret.bytes())
}

fn message(session: &SessionId) -> String {
    format!("{PURPOSE}{session}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_resumes_its_session_and_no_other_and_only_here() {
        let (here, elsewhere) = (NodeSecret::new([7; 32]), NodeSecret::new([8; 32]));
        let session = SessionId("0123456789abcdef0123456789abcdef".to_owned());
        let token = resume_token(&here, &session);
        assert_eq!(session_of(&here, &token), Some(session));
        assert_eq!(session_of(&elsewhere, &token), None);
        let (_, tag) = token.split_once('.').unwrap();
        let long = format!("{}.{tag}", "a".repeat(200));
        for forged in ["", ".", "a", &format!("other.{tag}"), &token[..token.len() - 1], &format!("{token}0"), &long] {
            assert_eq!(session_of(&here, forged), None, "{forged}");
        }
    }
}
