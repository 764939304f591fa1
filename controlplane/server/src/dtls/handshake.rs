//! Runs a handshake: datagrams and time into [`Negotiation`], datagrams out of it.

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::endpoint::Outgoing;
use super::error::Error;
use super::negotiation::Negotiation;
use super::records::Dtls12;
use super::session::{Config, Established};

/// Runs the handshake.
pub(super) async fn run(
    config: &Config,
    incoming: &mut mpsc::Receiver<Bytes>,
    outgoing: &Outgoing,
) -> Result<Established<Dtls12>, Error> {
    let mut negotiation = Negotiation::new(config.clone(), Instant::now());
    loop {
        let datagram = timeout_at(negotiation.poll_timeout(), receive(incoming)).await.ok();
        let (now, before) = (Instant::now(), negotiation.dropped());
        let handled = datagram.map_or(Ok(()), |datagram| negotiation.handle_datagram(now, &datagram));
        // Also after a datagram: a flood of them holds up no deadline.
        let result = handled.and_then(|()| negotiation.handle_timeout(now));
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
