//! An endpoint with its signalling session: what publisher and viewer have in common.

pub(crate) mod connection;
pub(crate) mod endpoint;
pub(crate) mod handle;
pub(crate) mod worker;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use reqwest::Url;
use tokio::sync::Mutex as AsyncMutex;

use crate::signalling::{Resource, Session};
use connection::Connection;
use endpoint::{Endpoint, Role, Setup};
use handle::Handle;
use worker::{Farewell, Worker};

/// Waiting looks this often.
const POLL: Duration = Duration::from_millis(5);

/// A peer that has joined.
#[derive(Debug)]
pub(crate) struct Peer {
    handle: Handle,
    session: AsyncMutex<Session>,
    location: String,
}

impl Peer {
    /// Offers, takes the answer, and hands the endpoint to the worker.
    pub(crate) async fn join(worker: Arc<Worker>, resource: &Resource, setup: &Setup, role: Role) -> Result<Self> {
        let (mut endpoint, offer) = Endpoint::offering(setup, role)?;
        let connection = endpoint.connection_handle();
        let requested_at = Instant::now();
        let session = Session::create(resource, offer.clone()).await?;
        if let Err(error) = endpoint.accept_answer(&session.answer) {
            // The server would keep a session that nobody uses.
            let removed = session.delete().await;
            return Err(error.context(format!("the answer does not fit the offer (removed: {})", removed.is_ok())));
        }
        {
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            connection.requested_at = Some(requested_at);
            connection.answered_at = Some(Instant::now());
        }
        let candidates = endpoint.local_candidates()?;
        let handle = Handle::new(worker, endpoint);
        if setup.trickle {
            session.trickle(&offer, &candidates).await?;
        }
        let location = session.location().to_owned();
        Ok(Self { handle, session: AsyncMutex::new(session), location })
    }

    pub(crate) fn location(&self) -> &str {
        &self.location
    }

    pub(crate) fn connection(&self) -> Connection {
        self.handle.connection()
    }

    /// Runs something in the endpoint's thread.
    pub(crate) fn act(
        &self,
        action: impl FnOnce(&mut Endpoint, crate::measure::clock::Now) -> Result<()> + Send + 'static,
    ) {
        self.handle.act(action);
    }

    /// Restarts ICE by PATCH and waits for the answer, not for the new pair.
    pub(crate) async fn restart_ice(&self) -> Result<()> {
        let mut session = self.session.lock().await;
        let offer = self.handle.ask(Endpoint::offer_ice_restart).await?;
        let answer = session.restart(&offer).await?;
        self.handle.ask(move |endpoint| endpoint.accept_answer(&answer)).await
    }

    /// Waits until media may flow.
    pub(crate) async fn wait_connected(&self, limit: Duration) -> Result<()> {
        let connected = wait_until(limit, || {
            let connection = self.connection();
            connection.is_connected() || connection.error.is_some()
        });
        let connected = connected.await;
        let connection = self.connection();
        match connection.error {
            Some(error) => bail!("the endpoint failed: {error}"),
            None if connected => Ok(()),
            None => bail!("not connected after {limit:?}: {:?}", connection.states),
        }
    }

    /// Deletes the session and says goodbye on the transport; the other way round the server could have closed the
    /// session, whose resource is then not found.
    pub(crate) async fn leave(&self) -> Result<()> {
        let deleted = self.session.lock().await.delete().await;
        self.handle.remove(Farewell::Close);
        deleted
    }

    /// Goes without a word, as a killed process does.
    pub(crate) fn vanish(&self) {
        self.handle.remove(Farewell::Vanish);
    }
}

/// Looks every few milliseconds until `condition` holds; false when `limit` is over.
pub async fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The address that this host uses towards the server.
pub(crate) fn local_ip_towards(url: &str) -> Result<IpAddr> {
    let url = Url::parse(url).with_context(|| format!("not an address: {url}"))?;
    let server = url.socket_addrs(|| Some(80))?.into_iter().next().context("the server's name has no address")?;
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { std::net::Ipv6Addr::UNSPECIFIED.into() };
    let probe = UdpSocket::bind(SocketAddr::new(any, 0))?;
    // Connecting a datagram socket sends nothing, it only chooses a route.
    probe.connect(server)?;
    Ok(probe.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_reached_from_loopback() {
        assert_eq!(local_ip_towards("http://127.0.0.1:8080/whip/x").unwrap(), IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert!(local_ip_towards("not an address").is_err());
    }
}
