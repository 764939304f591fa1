//! Sessions as fronts see them: each call is a job for the task.

use std::ops::ControlFlow;
use std::sync::Arc;

use async_trait::async_trait;
use sluice_controlplane_core::room::LeaveReason;
use sluice_controlplane_core::session::SessionId;
use tokio::time::sleep_until;

use super::attendance::Later;
use super::contract::{Opened, Opener, Request, Resume, Resumed, Sessions};
use super::line::End;
use super::requests::Rest;
use super::told::{Reply, RequestId, Told};
use crate::conductor::stored::stored_settings;
use crate::conductor::{ConductorError, Handle};
use crate::store::StoredRemoval;

#[async_trait]
impl Sessions for Handle {
    async fn open_session(&self, opener: Opener) -> Result<Opened, ConductorError> {
        self.ask(move |desk| desk.open_session(opener)).await?
    }

    async fn resume_session(&self, resume: Resume) -> Result<Resumed, ConductorError> {
        let resume = Arc::new(resume);
        loop {
            let asked = Arc::clone(&resume);
            match self.ask(move |desk| desk.resume_session(&asked)).await?? {
                ControlFlow::Break(resumed) => return Ok(resumed),
                ControlFlow::Continue(Later(instant)) => sleep_until(instant).await,
            }
        }
    }

    async fn lose_connection(&self, session: &SessionId, holder: u64) {
        let session = session.clone();
        // At the end of the conductor nobody is waited for.
        drop(self.ask(move |desk| desk.lose_connection(&session, holder)).await);
    }

    async fn close_session(&self, session: &SessionId) {
        let session = session.clone();
        drop(self.ask(move |desk| desk.end_session(&session, LeaveReason::Left, End::Closed)).await);
    }

    async fn ask(&self, session: &SessionId, id: Option<RequestId>, request: Request) -> Result<(), ConductorError> {
        let session = session.clone();
        let carried_out = self.ask(move |desk| {
            let rest = desk.carry_out_request(&session, id, request)?;
            // A room that ended may have taken the session with it.
            let line = desk.attended.get(&session).map(|attended| Arc::clone(&attended.line));
            Ok::<_, ConductorError>((rest, line))
        });
        let (rest, line) = carried_out.await??;
        let reply = |reply| {
            if let Some(line) = &line {
                line.tell(Arc::new(Told::Reply(id, reply)));
            }
        };
        match rest {
            Rest::Answered => return Ok(()),
            Rest::SayDone => {}
            Rest::SayAcknowledged(acknowledged, answer) => {
                acknowledged.await?;
                reply(*answer);
                return Ok(());
            }
            Rest::RememberRemoval { room, identity, now_seconds } => {
                let void_until = i64::try_from(now_seconds).unwrap_or(i64::MAX);
                let removal = StoredRemoval { room_id: room.0, identity: identity.0, void_until };
                self.store.insert_removal(&removal).await?;
            }
            Rest::StoreRoom(room) => {
                let _there = self.store.update_room(&room.id, &stored_settings(&room.settings)).await?;
            }
        }
        if id.is_some() {
            reply(Reply::Done);
        }
        Ok(())
    }
}
