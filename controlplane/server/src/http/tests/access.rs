//! Who may do what: the matrix row by row, forged tokens, and tokens that were revoked.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use sluice_controlplane_core::access::{Caller, MATRIX, MatrixRow, Role};

use super::{Api, Call, now_seconds, sign, token};
use crate::config::Guests;

/// Calls a row's endpoint of the room `a` with as little as it takes to be let in.
fn call(row: &MatrixRow) -> Call {
    let (method, path) = row.route.split_once(' ').unwrap();
    let path = path.replace("{room_id}", "a").replace("{participant_id}", "nobody").replace("/ws", "/ws?room_id=a");
    let call = Call::new(method, &path);
    if path.starts_with("/wh") { call.body("application/sdp", "x") } else { call.json(&json!({})) }
}

#[tokio::test]
async fn every_row_of_the_matrix_holds() {
    for row in MATRIX {
        for (caller, allowed) in Caller::ALL.into_iter().zip(row.allowed) {
            let api = Api::new(Guests::None).await;
            api.room("a").await;
            let shown = match caller {
                Caller::Admin => sign(&json!({"admin": true, "exp": now_seconds() + 60})),
                Caller::Host => token("a", "h", Role::Host),
                Caller::Speaker => token("a", "s", Role::Speaker),
                Caller::Attendee => token("a", "v", Role::Attendee),
                Caller::Stranger => token("b", "x", Role::Host),
            };
            if row.route.ends_with("/events") && allowed {
                // An open stream has no end; who may open it is seen by its head.
                let request = call(&row).bearer(&shown).request.body(axum::body::Body::empty()).unwrap();
                let response = tower::ServiceExt::oneshot(api.app.clone(), request).await.unwrap();
                assert_eq!(response.status(), 200, "{} {caller:?}", row.route);
                continue;
            }
            let reply = api.send(call(&row).bearer(&shown)).await;
            let refused = matches!(reply.status, 401 | 403);
            assert_eq!(refused, !allowed, "{} {caller:?}: {}", row.route, reply.text());
            assert!(!matches!(reply.status, 405 | 500..), "{} {caller:?}: {}", row.route, reply.text());
            let nobody = api.send(call(&row)).await;
            if row.route == "GET /ws" {
                // Who shows nothing resumes a session, which is the business of messages.
                assert_eq!((nobody.status, nobody.code().as_str()), (426, "upgrade_required"));
                continue;
            }
            assert_eq!(nobody.status == 401, !row.allowed[4], "{}: {}", row.route, nobody.text());
        }
    }
}

#[test]
fn the_matrix_is_in_the_documentation() {
    let documented = include_str!("../../../../../docs/API.md");
    for row in MATRIX {
        let cells = row.allowed.map(|allowed| if allowed { "yes" } else { "no" });
        let line = format!("| `{}` | {} |", row.route, cells.join(" | "));
        assert!(documented.lines().any(|own| own == line), "docs/API.md lacks {line}");
    }
}

#[tokio::test]
async fn forged_tokens_open_nothing_anywhere() {
    let api = Api::new(Guests::Create).await;
    api.room("a").await;
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({"admin": true, "room_id": "a", "user_id": "x", "role": "host", "exp": now_seconds() + 60});
    let signed_by_guess = {
        let message = format!("{}.{}", part(json!({"alg": "HS256", "kid": "main"})), part(claims.clone()));
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, b"0123456789abcdef0123456789abcdeX");
        let signature = URL_SAFE_NO_PAD.encode(aws_lc_rs::hmac::sign(&key, message.as_bytes()));
        format!("{message}.{signature}")
    };
    let mut expired = claims.clone();
    expired["exp"] = json!(now_seconds() - 60);
    let forged = [
        (format!("{}.{}.", part(json!({"alg": "none"})), part(claims.clone())), "token_header"),
        (format!("{}.{}.", part(json!({"alg": "none", "kid": "main"})), part(claims.clone())), "token_header"),
        (format!("{}.{}.AAAA", part(json!({"alg": "HS256", "kid": "x"})), part(claims)), "token_key_unknown"),
        (signed_by_guess, "token_signature"),
        (sign(&expired), "token_expired"),
        ("garbage".to_owned(), "token_unknown"),
        ("..".to_owned(), "token_header"),
        (String::new(), "token_unknown"),
    ];
    for row in MATRIX.iter().filter(|row| !row.allowed[4]) {
        for (forged, code) in &forged {
            let reply = api.send(call(row).bearer(forged)).await;
            assert_eq!((reply.status, reply.code().as_str()), (401, *code), "{} {forged}", row.route);
            assert!(reply.header("www-authenticate").starts_with("Bearer"), "{}", row.route);
            assert!(!reply.text().contains(forged.as_str()) || forged.is_empty() || forged == "..", "{}", row.route);
        }
        for scheme in ["Basic bWFpbjp4", "Bearer", "bearer  ", ""] {
            let reply = api.send(call(row).header("authorization", scheme)).await;
            assert_eq!(reply.status, 401, "{} {scheme:?}", row.route);
        }
    }
}

#[tokio::test]
async fn a_revoked_host_manages_no_more() {
    let api = Api::new(Guests::None).await;
    api.room("a").await;
    let host = token("a", "h", Role::Host);
    let list = || Call::new("GET", "/api/rooms/a/participants").bearer(&host);
    assert_eq!(api.send(list()).await.status, 200);
    api.conductor.with(|state| state.revoked.push("h".to_owned()));
    let reply = api.send(list()).await;
    assert_eq!((reply.status, reply.code().as_str()), (401, "token_revoked"));
}

#[tokio::test]
async fn a_token_in_the_address_opens_only_what_cannot_have_headers() {
    let api = Api::new(Guests::None).await;
    api.room("a").await;
    let host = token("a", "h", Role::Host);
    assert_eq!(api.get(&format!("/api/rooms/a?token={host}")).await.status, 401);
    let offer = Call::new("POST", &format!("/whip/a?token={host}")).body("application/sdp", "v=0\r\nm=\r\n");
    assert_eq!(api.send(offer).await.status, 201);
}
