//! Runs a handshake: datagrams and time into [`Negotiation`], datagrams out of it.

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::endpoint::Outgoing;
use super::error::Error;
use super::negotiation::Negotiation;
use super::records::Dtls12;
use super::session::{Config, Established};

/// Runs the handshake. It ends early only when dropped: the deadline is the caller's.
pub(super) async fn run(
    config: &Config,
    incoming: &mut mpsc::Receiver<Bytes>,
    outgoing: &Outgoing,
) -> Result<Established<Dtls12>, Error> {
    let mut negotiation = Negotiation::new(config.clone());
    loop {
        let datagram = match negotiation.poll_timeout() {
            Some(due) => timeout_at(due, receive(incoming)).await.ok(),
            None => Some(receive(incoming).await),
        };
        let before = negotiation.dropped();
        let result = match datagram {
            Some(datagram) => negotiation.handle_datagram(Instant::now(), &datagram),
            None => {
                negotiation.handle_timeout(Instant::now());
                Ok(())
            }
        };
        outgoing.drop_many(negotiation.dropped() - before);
        while let Some(datagram) = negotiation.poll_datagram() {
            outgoing.send(datagram);
        }
        result?;
        if let Some(established) = negotiation.poll_established() {
            return Ok(established);
        }
    }
}

/// Receives a datagram; pends when the association is gone, since the task is about to be dropped.
async fn receive(incoming: &mut mpsc::Receiver<Bytes>) -> Bytes {
    match incoming.recv().await {
        Some(datagram) => datagram,
        None => std::future::pending().await,
    }
}
