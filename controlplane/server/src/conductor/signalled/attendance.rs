//! Whose client is there: sessions opened, resumed, waited for and given up.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::ControlFlow;
use std::sync::Arc;

use sluice_controlplane_core::plan::{OpenSession, PublishTrack};
use sluice_controlplane_core::room::{Identity, LeaveReason, RoomId};
use sluice_controlplane_core::sdp::Simulcast;
use sluice_controlplane_core::session::{PeerConnection, Session, SessionId};
use tokio::time::{Instant, sleep};

use super::contract::{Opened, Opener, Origin, Resume, Resumed, SessionState};
use super::limits::{EXPIRED_KEPT_MAX, RESUME_WITHIN, TOLD_ANEW_INTERVAL_MIN};
use super::line::{End, Line};
use super::resume_token::{resume_token, session_of};
use super::told::{Arrival, News, Reply, RequestId, Stay, Told};
use crate::clock;
use crate::conductor::admit::random_id;
use crate::conductor::desk::{Desk, Job};
use crate::conductor::limits::SESSIONS_MAX;
use crate::conductor::{ConductorError, Sight};

/// What the conductor keeps of a session's client.
#[derive(Debug)]
pub(in crate::conductor) struct Attendance {
    /// What the client is told.
    pub(super) line: Arc<Line>,
    /// Where it is.
    pub(super) origin: Origin,
    /// What it said of the tracks that its next offer sends.
    pub(super) declared: Vec<PublishTrack>,
    /// When it was last told how everything is, as it had missed what is not kept.
    told_anew_at: Option<Instant>,
}

/// Not before then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Later(pub(super) Instant);

impl Attendance {
    fn new(line: Arc<Line>, origin: Origin) -> Self {
        Self { line, origin, declared: Vec::new(), told_anew_at: None }
    }
}

impl Desk {
    /// Opens a session and lets it into its first room.
    pub(super) fn open_session(&mut self, opener: Opener) -> Result<Opened, ConductorError> {
        if self.control.sessions().len() >= SESSIONS_MAX {
            return Err(ConductorError::TooManySessions);
        }
        self.check_backlog()?;
        let session = SessionId(random_id());
        let identity = opener.entrant.identity.clone();
        let open = OpenSession {
            session: session.clone(),
            identity: Identity(identity.clone()),
            certificate: self.certificate.to_bytes(),
            simulcast: Simulcast::All,
        };
        self.control.open_session(open).map_err(crate::conductor::admit::refusal)?;
        let line = Arc::new(Line::new(self.first_number()));
        let holder = line.take_over();
        let after = line.last();
        let before = self.attended.insert(session.clone(), Attendance::new(Arc::clone(&line), opener.origin));
        debug_assert!(before.is_none(), "ids of sessions are random");
        if let Err(error) = self.join_room(&session, None, &opener.room, opener.entrant, opener.auto_subscribe) {
            self.end_session(&session, LeaveReason::Left, End::Closed);
            return Err(error);
        }
        let resume_token = resume_token(&self.secret, &session);
        Ok(Opened { session, identity, resume_token, line, holder, after, ice_servers: self.ice_servers() })
    }

    /// Numbers of messages start beyond those of the control planes before this one, so that theirs are not taken for ours.
    fn first_number(&self) -> u64 {
        u64::from(self.dataplane.epoch()) << 32
    }

    /// Gives a session's line to a new connection. How everything is in its rooms is much to say, so that has its pace.
    pub(super) fn resume_session(&mut self, resume: &Resume) -> Result<ControlFlow<Resumed, Later>, ConductorError> {
        let session = session_of(&self.secret, &resume.token).ok_or(ConductorError::NoSuchSession)?;
        let is_expired = self.expired.contains(&session);
        let missing = if is_expired { ConductorError::TokenExpired } else { ConductorError::NoSuchSession };
        let attended = self.attended.get_mut(&session).ok_or(missing)?;
        if !attended.line.keeps_after(resume.seq) {
            let now = Instant::now();
            let from = attended.told_anew_at.map(|at| at + TOLD_ANEW_INTERVAL_MIN);
            if let Some(from) = from.filter(|from| *from > now) {
                return Ok(ControlFlow::Continue(Later(from)));
            }
            attended.told_anew_at = Some(now);
        }
        attended.origin = resume.origin;
        let line = Arc::clone(&attended.line);
        let holder = line.take_over();
        let mut effects = Vec::new();
        let resumed = self.control.signalling_resumed(clock::now(), &session, &mut effects);
        resumed.map_err(|_| ConductorError::NoSuchSession)?;
        let is_complete = line.keeps_after(resume.seq);
        self.settle(effects);
        let own = self.control.session(&session).ok_or(ConductorError::NoSuchSession)?;
        let identity = own.signalling.as_ref().map_or_else(String::new, |own| own.identity.0.clone());
        let publisher_offer = own.signalling.as_ref().map(|own| own.client_offer).unwrap_or_default();
        let transport = |connection: &Option<PeerConnection>| connection.as_ref().map(|own| own.transport);
        let (publisher, subscriber) = (transport(&own.publisher), transport(&own.subscriber));
        let state = if is_complete { None } else { Some(self.session_state(own)) };
        let after = if is_complete { resume.seq } else { line.last() };
        // The client may have lost it, or its answer.
        self.tell_offer(&session);
        let resume_token = resume.token.clone();
        let ice_servers = self.ice_servers();
        let opened = Opened { session, identity, resume_token, line, holder, after, ice_servers };
        Ok(ControlFlow::Break(Resumed { opened, state, publisher_offer, publisher, subscriber }))
    }

    fn session_state(&self, session: &Session) -> SessionState {
        let stays = session.memberships.iter().filter_map(|member| self.stay(session, &member.room));
        let arrivals = self.control.arrivals(session).into_iter();
        SessionState {
            stays: stays.collect(),
            arrivals: arrivals.map(|(track, mid, undecodable)| Arrival { track, mid, undecodable }).collect(),
            sent: session.sent(),
        }
    }

    /// Returns a session's stay in a room, as it is now.
    pub(super) fn stay(&self, session: &Session, room: &RoomId) -> Option<Stay> {
        let own = session.participant_in(room)?;
        let known = self.control.room(room)?;
        let own = known.participant(own)?;
        let sight = if own.permissions().can_manage { Sight::All } else { Sight::Visible };
        let mut everybody = self.participant_snapshots(room, sight, None, usize::MAX).ok()?;
        everybody.retain(|other| other.participant.id != own.id);
        Some(Stay {
            room: self.snapshot(known),
            own: super::super::snapshots::participant_snapshot(own),
            others: everybody,
        })
    }

    /// Lets go of a session whose connection is gone, and waits for it for a while.
    pub(super) fn lose_connection(&mut self, session: &SessionId, holder: u64) {
        let Some(attended) = self.attended.get(session) else { return };
        if !attended.line.let_go(holder) {
            return;
        }
        let is_anywhere = self.control.session(session).is_some_and(|own| !own.memberships.is_empty());
        if is_anywhere {
            self.wait_for(session.clone(), holder);
        } else {
            self.end_session(session, LeaveReason::Left, End::Closed);
        }
    }

    fn wait_for(&self, session: SessionId, holder: u64) {
        let jobs = self.jobs.clone();
        drop(tokio::spawn(async move {
            sleep(RESUME_WITHIN).await;
            let give_up: Job = Box::new(move |desk| {
                if let Some(desk) = desk {
                    desk.show_as_lost(&session, holder);
                }
            });
            drop(jobs.send(give_up).await);
        }));
    }

    /// Shows others that a session's client is gone, unless it has come back.
    fn show_as_lost(&mut self, session: &SessionId, holder: u64) {
        let is_gone = self.attended.get(session).is_some_and(|attended| attended.line.is_free_since(holder));
        if is_gone {
            let mut effects = Vec::new();
            // One that has ended meanwhile is lost to nobody.
            let _known = self.control.signalling_lost(clock::now(), session, &mut effects);
            self.settle(effects);
        }
    }

    /// Ends a session.
    pub(super) fn end_session(&mut self, session: &SessionId, reason: LeaveReason, end: End) {
        let mut effects = Vec::new();
        // It may have ended meanwhile.
        let _known = self.control.close(clock::now(), session, reason, &mut effects);
        self.settle(effects);
        if let Some(attended) = self.attended.remove(session) {
            attended.line.end(end);
        }
    }

    /// Ends a session that is in no room any more, where nobody is there to enter another one, somebody else took its place,
    /// or the last token that it rested on has ended.
    pub(in crate::conductor) fn end_if_nowhere(&mut self, session: &SessionId, reason: LeaveReason) {
        let is_anywhere = self.control.session(session).is_none_or(|own| !own.memberships.is_empty());
        let Some(attended) = self.attended.get(session) else { return };
        #[expect(clippy::wildcard_enum_match_arm, reason = "all other ends leave the session to its client")]
        let end = match reason {
            LeaveReason::Replaced => Some(End::Replaced),
            LeaveReason::TokenExpired => Some(End::Expired),
            _ => (!attended.line.is_held()).then_some(End::Closed),
        };
        let Some(end) = end.filter(|_| !is_anywhere) else { return };
        if end == End::Expired {
            if self.expired.len() >= EXPIRED_KEPT_MAX {
                self.expired.pop_front();
            }
            self.expired.push_back(session.clone());
        }
        self.end_session(session, reason, end);
    }

    /// Waits for the clients of the sessions that a control plane before this one left.
    pub(in crate::conductor) fn attend_restored(&mut self) {
        let restored = self.control.sessions().filter(|session| session.signalling.is_some());
        let restored: Vec<SessionId> = restored.map(|session| session.id.clone()).collect();
        let origin = Origin { client: IpAddr::V4(Ipv4Addr::UNSPECIFIED), is_loopback: false };
        for session in restored {
            let line = Arc::new(Line::new(self.first_number()));
            let before = self.attended.insert(session.clone(), Attendance::new(line, origin));
            debug_assert!(before.is_none(), "it is the first time");
            self.wait_for(session, 0);
        }
    }

    /// Tells a session's client what happened.
    pub(in crate::conductor) fn tell(&self, session: &SessionId, news: News) {
        if let Some(attended) = self.attended.get(session) {
            attended.line.tell(Arc::new(Told::News(news)));
        }
    }

    /// Answers a session's client.
    pub(super) fn reply(&self, session: &SessionId, id: Option<RequestId>, reply: Reply) {
        if let Some(attended) = self.attended.get(session) {
            attended.line.tell(Arc::new(Told::Reply(id, reply)));
        }
    }
}
