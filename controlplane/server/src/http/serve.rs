//! Connections: accepted, bounded, timed, drained.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tower::ServiceExt as _;

use super::patience::Impatient;
use super::places::{Place, Places};
use super::{Server, limits, router};

/// The address at the other end of a request's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub(super) struct OtherEnd {
    /// Its address.
    pub(super) peer: SocketAddr,
    /// The place that it has; what the connection is upgraded to holds it, too.
    pub(super) place: Option<Arc<Place>>,
}

/// How long to wait when the process has no descriptors left for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `shutdown` completes; then lets requests end for at most [`limits::DRAIN_TIMEOUT`].
///
/// # Errors
/// None yet: a connection that cannot be accepted is logged and left.
pub async fn serve(listener: TcpListener, server: Server, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    let app = router(server.clone());
    let builder = connection_builder();
    let places = Places::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = &mut shutdown => break,
        };
        let Some((stream, peer, place)) = accepted else { continue };
        let end = OtherEnd { peer, place: Some(Arc::new(place)) };
        let connection = handle_connection(builder.clone(), stream, end, app.clone(), server.is_stopping.subscribe());
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
        });
    }
    drop(listener);
    server.stop();
    if tokio::time::timeout(limits::DRAIN_TIMEOUT, places.are_free()).await.is_err() {
        tracing::info!("some HTTP requests were cut off");
    }
    Ok(())
}

/// Waits for a connection, and takes a place for it. One without a place is closed at once: who waits in a queue learns
/// nothing, and those in front of it may not go.
async fn accept(listener: &TcpListener, places: &Places) -> Option<(TcpStream, SocketAddr, Place)> {
    match listener.accept().await {
        Ok((stream, peer)) => {
            let Some(place) = places.take(peer.ip()) else {
                tracing::debug!("a connection was refused: there are as many as there may be");
                return None;
            };
            // Answers are small and complete: waiting for more only delays them.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "connection without TCP_NODELAY");
            }
            Some((stream, peer, place))
        }
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// Answers what comes over a connection until it ends, its peer stops reading, or the server stops.
pub(super) async fn handle_connection(
    builder: Builder,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    end: OtherEnd,
    app: Router,
    mut stopping: watch::Receiver<bool>,
) -> hyper::Result<()> {
    let service = hyper::service::service_fn(move |request| answer(app.clone(), end.clone(), request));
    let stream = TokioIo::new(Impatient::new(stream));
    let mut connection = pin!(builder.serve_connection(stream, service).with_upgrades());
    let stopped = async move { drop(stopping.wait_for(|is_stopping| *is_stopping).await) };
    tokio::select! {
        ended = &mut connection => ended,
        () = stopped => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}

pub(super) fn connection_builder() -> Builder {
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits::HEAD_TIMEOUT).max_buf_size(limits::HEAD_BYTES_MAX);
    builder
}

async fn answer(
    app: Router,
    end: OtherEnd,
    request: Request<Incoming>,
) -> Result<axum::response::Response, std::convert::Infallible> {
    let mut request = request.map(axum::body::Body::new);
    request.extensions_mut().insert(Peer(end.peer));
    if let Some(place) = end.place {
        request.extensions_mut().insert(place);
    }
    app.oneshot(request).await
}
