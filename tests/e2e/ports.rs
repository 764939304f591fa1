//! Ports that other programs have.

use std::net::UdpSocket;

use sluice_tests::{Options, Server};

#[tokio::test]
async fn a_media_port_that_is_taken_ends_the_start_with_a_sentence_that_says_what_to_do() {
    let other = UdpSocket::bind("0.0.0.0:0").unwrap();
    let media_port = other.local_addr().unwrap().port();
    let error = Server::start(Options { media_port, ..Options::default() }).await.unwrap_err();
    let text = format!("{error:#}");
    assert!(text.contains(&format!("cannot use UDP port {media_port} for media")), "{text}");
    assert!(text.contains("--media-port"), "{text}");
    drop(other);
    let server = Server::start(Options { media_port, ..Options::default() }).await.unwrap();
    drop(server);
}
