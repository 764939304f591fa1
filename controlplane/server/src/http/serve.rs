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
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt as _;

use super::{Server, limits, router};

/// The address at the other end of a request's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// How long to wait when the process has no descriptors left for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `shutdown` completes; then lets requests end for at most [`limits::DRAIN_TIMEOUT`].
///
/// # Errors
/// None yet: a connection that cannot be accepted is logged and left.
pub async fn serve(listener: TcpListener, server: Server, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    let app = router(server.clone());
    let builder = connection_builder();
    let permits = Arc::new(Semaphore::new(limits::CONNECTIONS_MAX));
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &permits) => accepted,
            () = &mut shutdown => break,
        };
        let Some((stream, peer, permit)) = accepted else { continue };
        let app = app.clone();
        let service = hyper::service::service_fn(move |request| answer(app.clone(), peer, request));
        let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
        let mut stopping = server.is_stopping.subscribe();
        tokio::spawn(async move {
            let mut connection = pin!(connection);
            let stopped = async move { drop(stopping.wait_for(|is_stopping| *is_stopping).await) };
            let ended = tokio::select! {
                ended = &mut connection => ended,
                () = stopped => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "connection ended");
            }
            drop(permit);
        });
    }
    drop(listener);
    server.stop();
    let everybody = permits.acquire_many(u32::try_from(limits::CONNECTIONS_MAX).unwrap_or(u32::MAX));
    if tokio::time::timeout(limits::DRAIN_TIMEOUT, everybody).await.is_err() {
        tracing::info!("some HTTP requests were cut off");
    }
    Ok(())
}

/// Waits for a place and a connection.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = permits.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => {
            // Answers are small and complete: waiting for more only delays them.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "connection without TCP_NODELAY");
            }
            Some((stream, peer, permit))
        }
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

fn connection_builder() -> Builder {
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits::HEAD_TIMEOUT).max_buf_size(limits::HEAD_BYTES_MAX);
    builder
}

async fn answer(
    app: Router,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Result<axum::response::Response, std::convert::Infallible> {
    let mut request = request.map(axum::body::Body::new);
    request.extensions_mut().insert(Peer(peer));
    app.oneshot(request).await
}
