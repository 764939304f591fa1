//! An endpoint that lives in a worker's thread, seen from outside.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use tokio::sync::oneshot;

use super::connection::Connection;
use super::endpoint::Endpoint;
use super::worker::{Farewell, Worker};
use crate::measure::clock::Now;

/// A handle of an endpoint; dropping it removes the endpoint without a word.
#[derive(Debug)]
pub(crate) struct Handle {
    worker: Arc<Worker>,
    id: u64,
    connection: Arc<Mutex<Connection>>,
}

impl Handle {
    /// Hands an endpoint over to a worker.
    pub(crate) fn new(worker: Arc<Worker>, endpoint: Endpoint) -> Self {
        let connection = endpoint.connection_handle();
        let id = worker.add(endpoint);
        Self { worker, id, connection }
    }

    pub(crate) fn connection(&self) -> Connection {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs something in the endpoint's thread.
    pub(crate) fn act(&self, action: impl FnOnce(&mut Endpoint, Now) -> Result<()> + Send + 'static) {
        self.worker.act(self.id, action);
    }

    /// Runs something in the endpoint's thread and returns what it says; its failure leaves the endpoint alive.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Endpoint) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (sender, receiver) = oneshot::channel();
        self.worker.act(self.id, move |endpoint, _| {
            // Nobody listens any more when the caller was cancelled.
            drop(sender.send(question(endpoint)));
            Ok(())
        });
        receiver.await.context("the endpoint is gone")?
    }

    /// Takes the endpoint off; one that is gone already stays so.
    pub(crate) fn remove(&self, farewell: Farewell) {
        self.worker.remove(self.id, farewell);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.remove(Farewell::Vanish);
    }
}
