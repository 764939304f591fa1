//! What becomes of the log concerns nobody in a call.

use reqwest::Method;
use serde_json::{Value, json};
use sluice_tests::{Options, Server, Signaller};

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_written_is_lost_and_nothing_else_is() {
    // Every write fails, as on a full disk.
    let wrapper = ["sh", "-c", "exec \"$0\" \"$@\" 2>/dev/full"].map(str::to_owned).to_vec();
    let server = Server::start(Options { wrapper, ..Options::default() }).await.unwrap();
    server.make_room("a").await.unwrap();
    let pid = server.controlplane_pid().unwrap();
    for identity in ["ann", "ben"] {
        let token = server.token("a", identity, "speaker").await.unwrap();
        let mut client = Signaller::enter(server.base(), &token).await.unwrap();
        assert!(client.unread().await.is_ok());
    }
    let (status, health) = server.api(Method::GET, "/api/health", &Value::Null).await.unwrap();
    assert_eq!((status, &health["status"]), (200, &json!("ok")));
    assert_eq!(server.controlplane_pid().unwrap(), pid);
}
