//! What a participant does, by chance.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::chance::Chance;
use super::publisher::LineState;
use super::session::{Lost, OpenError};
use super::stay::{Failure, Shared, Sight, Stay};

/// How often a participant looks whether the tracks that it waits for have come.
const LOOK: Duration = Duration::from_millis(20);
/// Something is said this often, so that the server knows that somebody is there.
const PING: Duration = Duration::from_secs(10);
/// How long to wait after a refusal.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest time for which a participant is without its WebSocket.
const CUT: Duration = Duration::from_millis(1500);

/// What all participants do at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// They join, and nothing is sent.
    Join,
    /// Everybody who publishes sends.
    Steady,
    /// They come and go.
    Churn,
    /// They stay as they are.
    Quiet,
    /// Packets are counted.
    Window,
    /// They tell what they have.
    Over,
    /// They leave, now that everybody has told.
    Leave,
}

/// How restless participants are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Habits {
    /// How long somebody stays, on the average.
    pub(crate) stay: Duration,
    /// How long somebody is away, on the average.
    pub(crate) away: Duration,
    /// Time between two things that somebody does, on the average.
    pub(crate) pause: Duration,
}

/// A participant.
#[derive(Debug)]
pub(crate) struct Participant {
    shared: Arc<Shared>,
    who: Who,
    habits: Habits,
    chance: Chance,
    phase: watch::Receiver<Phase>,
}

/// Who a participant is.
#[derive(Debug)]
pub(crate) struct Who {
    pub(crate) index: usize,
    pub(crate) identity: String,
    pub(crate) token: String,
    pub(crate) publishes: bool,
}

impl Participant {
    /// Somebody who does what the seed says.
    pub(crate) fn new(shared: Arc<Shared>, who: Who, habits: Habits, seed: u64, phase: watch::Receiver<Phase>) -> Self {
        let chance = Chance::new(seed, u64::try_from(who.index).unwrap_or(0));
        Self { shared, who, habits, chance, phase }
    }

    /// Lives until the call is over, and tells what the participant has then, if it is there. Who is there stays until
    /// everybody has told, so that nobody sees others leave before.
    pub(crate) async fn live(mut self, begin_after: Duration, sights: mpsc::Sender<Option<Sight>>) {
        let left = self.live_until_over(begin_after).await;
        let (stay, sight) = left.unzip();
        drop(sights.send(sight).await);
        // Everybody has told when nobody has a sender any more.
        drop(sights);
        if let Some(stay) = stay {
            drop(self.phase.wait_for(|phase| *phase == Phase::Leave).await);
            stay.leave(false).await;
        }
    }

    async fn live_until_over(&mut self, begin_after: Duration) -> Option<(Stay, Sight)> {
        sleep(begin_after).await;
        loop {
            if let ControlFlow::Break(end) = self.stay_once().await {
                return Some(end);
            }
            let away = self.chance.around(self.habits.away);
            let mut phase = self.phase.clone();
            tokio::select! {
                () = sleep(away) => {}
                _over = phase.wait_for(|phase| *phase > Phase::Churn) => {}
            }
            if *self.phase.borrow() > Phase::Churn {
                return None;
            }
        }
    }

    /// Joins, stays for a while and leaves, unless the call is over by then.
    async fn stay_once(&mut self) -> ControlFlow<(Stay, Sight)> {
        let begun = Stay::begin(Arc::clone(&self.shared), self.who.index, &self.who.identity, &self.who.token).await;
        let mut stay = match begun {
            Ok(stay) => stay,
            Err(error) => {
                self.note_failed_join(&error);
                sleep(PAUSE).await;
                return ControlFlow::Continue(());
            }
        };
        if self.who.publishes
            && let Err(Failure::Lost(lost)) = stay.open_publisher().await
        {
            stay.end(&lost);
            return ControlFlow::Continue(());
        }
        match self.go_on(&mut stay).await {
            Ok(Some(sight)) => ControlFlow::Break((stay, sight)),
            Ok(None) => {
                let says_so = self.chance.below(2) == 0;
                stay.leave(says_so).await;
                ControlFlow::Continue(())
            }
            Err(lost) => {
                stay.end(&lost);
                ControlFlow::Continue(())
            }
        }
    }

    fn note_failed_join(&self, error: &OpenError) {
        let mut ledger = self.shared.ledger();
        match error {
            OpenError::Unreachable(why) => {
                ledger.counts.unreachable += 1;
                ledger.fault_in_peace(format!("{}: the server is not there: {why}", self.who.identity));
            }
            OpenError::Refused(code) => ledger.refuse(&self.who.identity, "join", code),
        }
    }

    /// Stays until it is time to leave; returns what there is to see when the call is over.
    async fn go_on(&mut self, stay: &mut Stay) -> Result<Option<Sight>, Lost> {
        let mut phase = self.phase.clone();
        let mut seen = *phase.borrow_and_update();
        let mut leave_at = self.leave_at();
        let mut act_at = Instant::now() + self.chance.around(self.habits.pause);
        let mut ping_at = Instant::now() + PING;
        let mut is_awaiting = true;
        loop {
            if stay.is_publisher_lost {
                self.publish_anew(stay).await?;
            }
            let restless = seen == Phase::Churn;
            let next = tokio::select! {
                next = stay.next() => Some(next),
                () = sleep(LOOK), if is_awaiting => None,
                () = sleep_until(act_at), if restless => None,
                () = sleep_until(leave_at), if restless => None,
                () = sleep_until(ping_at) => None,
                _changed = phase.changed() => None,
            };
            if let Some(next) = next {
                stay.take(next).await?;
            }
            is_awaiting = is_awaiting && stay.is_awaiting();
            let now = *phase.borrow_and_update();
            if now != seen {
                seen = now;
                match now {
                    Phase::Steady => stay.go_live(),
                    Phase::Churn => leave_at = self.leave_at(),
                    Phase::Window => stay.open_window(),
                    Phase::Over => return Ok(Some(stay.sight())),
                    Phase::Join | Phase::Quiet | Phase::Leave => {}
                }
            }
            if ping_at <= Instant::now() {
                stay.ping().await;
                ping_at = Instant::now() + PING;
            }
            if seen == Phase::Churn && leave_at <= Instant::now() {
                return Ok(None);
            }
            if seen == Phase::Churn && act_at <= Instant::now() {
                settle(self.act(stay).await)?;
                act_at = Instant::now() + self.chance.around(self.habits.pause);
            }
        }
    }

    fn leave_at(&mut self) -> Instant {
        Instant::now() + self.chance.around(self.habits.stay)
    }

    async fn publish_anew(&self, stay: &mut Stay) -> Result<(), Lost> {
        let opened = stay.open_publisher().await;
        if opened.is_err() {
            sleep(PAUSE).await;
        }
        settle(opened)
    }

    /// Does one thing.
    async fn act(&mut self, stay: &mut Stay) -> Result<(), Failure> {
        match self.chance.below(6) {
            0 => {
                let pause = self.chance.around(CUT / 2);
                return Ok(stay.cut(pause).await?);
            }
            1 => {
                let Some(track) = self.chance.one_of(&stay.arriving()).cloned() else { return Ok(()) };
                let quality = self.chance.one_of(&["low", "medium", "high"]).copied().unwrap_or("high");
                // The track may have gone while the wish was on its way.
                return stay.want_quality(&track, quality).await;
            }
            _ => {}
        }
        let Some((mid, state)) = self.chance.one_of(&stay.own_lines()).cloned() else { return Ok(()) };
        match (state, self.chance.below(3)) {
            (LineState::Sending(track), 0) => stay.toggle_mute(mid, &track).await,
            (LineState::Sending(_), 1) => stay.make_inactive(mid).await,
            (LineState::Sending(track), _) => stay.withdraw(mid, &track).await,
            (LineState::Inactive | LineState::Withdrawn, _) => stay.publish_again(mid).await,
        }
    }
}

/// A lost session ends a stay; whatever else failed is in the ledger.
fn settle(outcome: Result<(), Failure>) -> Result<(), Lost> {
    match outcome {
        Err(Failure::Lost(lost)) => Err(lost),
        Ok(()) | Err(Failure::Refused(_) | Failure::NoPublisher) => Ok(()),
    }
}
