//! The plan's objects coming and going.

use sluice_protocol::event::Refusal;
use sluice_protocol::ids::{Address, TransportId};
use sluice_protocol::limits::{CNAME_BYTES_MAX, CREDENTIALS_MAX};
use sluice_protocol::media::{Label, SrtpKeys, Ssrc};
use sluice_protocol::plan::{self, Key, Object};
use sluice_protocol::table::{Role, RowIndex, RowKey};
use sluice_protocol::time::Instant;

use super::Engine;
use crate::port::FiveTuple;
use crate::shard::rows::Keep;
use crate::shard::slab::Place;
use crate::shard::timer::Timer;
use crate::transport::{Agent, Changes, ControlReplay, Open, Security, Transport};

/// One step towards the plan that the controller wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Put this object under its key, whatever is there.
    Put {
        /// The object.
        object: Box<Object>,
        /// Whether a data plane that is gone had acknowledged it: its keys have been used, and without its rows in the
        /// shared table it is refused with [`Refusal::NoTableRow`].
        resume: bool,
    },
    /// Remove what is under this key, if anything is.
    Remove(Key),
}

impl Engine {
    pub(super) fn put(&mut self, now: Instant, object: Object, resume: bool) -> Result<(), Refusal> {
        let key = object.key();
        let outcome = match object {
            Object::Transport(transport) => self.put_transport(now, transport, resume),
            Object::Path(path) => self.put_path(now, &path),
            Object::Track(track) => self.put_track(now, track, resume),
            Object::Stream(stream) => self.put_stream(now, &stream, resume),
            Object::Egress(egress) => self.put_egress(now, egress, resume),
            Object::Cookie(_) => {
                self.settle_rows();
                Ok(())
            }
        };
        if outcome.is_err() {
            self.remove(key);
        }
        outcome
    }

    pub(super) fn remove(&mut self, key: Key) {
        match key {
            Key::Transport(id) => self.remove_transport(id),
            Key::Path(id) => self.remove_path(id),
            Key::Track(id) => self.remove_track(id),
            Key::Stream(track, ssrc) => self.remove_stream(track, ssrc),
            Key::Egress(id) => self.remove_egress(id),
            Key::Cookie(_) => {}
        }
    }

    fn put_transport(&mut self, now: Instant, plan: plan::Transport, resume: bool) -> Result<(), Refusal> {
        let id = plan.id;
        check_transport(&plan)?;
        let place = self.make_place(id.0, self.transports.place(id.0))?;
        if place == Place::Older {
            self.remove_older_transport(id);
        }
        if place != Place::Living {
            self.rows.free_slot(id, Keep::Own);
            let row = self.transport_row(&plan, resume)?;
            let agent = Agent::new(&self.config.secret, &plan.credentials);
            let mut transport = Transport::new(plan.clone(), row, agent);
            transport.clock_offset_nanos = self.rows.clock_offset_nanos(row);
            transport.rtcp = ControlReplay::resume(&mut self.rows, id);
            self.transports.insert(id.0, transport).ok_or(Refusal::NoSuchAddress)?;
            self.restore_path(now, id);
        }
        let transport = self.transports.get_mut(id.0).ok_or(Refusal::NoSuchAddress)?;
        if transport.plan.credentials != plan.credentials {
            transport.agent.set_credentials(&self.config.secret, &plan.credentials);
        }
        let keys = plan.keys;
        transport.plan = plan;
        self.timers.arm(id, &mut transport.deadlines, Timer::Feedback, now);
        match keys {
            Some(keys) => self.put_keys(now, id, &keys),
            None => Ok(()),
        }
    }

    /// Finds or takes the row of a transport, which tells the SRTCP index that a predecessor came to.
    fn transport_row(&mut self, plan: &plan::Transport, resume: bool) -> Result<RowIndex, Refusal> {
        match self.rows.find(plan.id, Ssrc(0), Role::Transport) {
            Some(row) => {
                self.rows.claim(row);
                Ok(row)
            }
            None if resume && plan.keys.is_some() => Err(Refusal::NoTableRow),
            None => {
                let key = RowKey {
                    transport: plan.id,
                    owner: 0,
                    ssrc: Ssrc(0),
                    role: Role::Transport,
                    mid: Label::default(),
                    rid: Label::default(),
                    repairs: Ssrc(0),
                };
                self.rows.occupy(&key, 0).ok_or(Refusal::PlanFull)
            }
        }
    }

    /// Goes on with the pair that a predecessor stored last, which the controller may not have heard of.
    fn restore_path(&mut self, now: Instant, id: TransportId) {
        let Some(transport) = self.transports.get_mut(id.0) else { return };
        let Some(path) = self.rows.path(transport.row) else { return };
        let changes = transport.agent.restore(now, &path);
        self.apply_ice(now, id, FiveTuple { local: path.local, remote: path.remote }, changes);
    }

    /// Opens a transport with its keys, once.
    fn put_keys(&mut self, now: Instant, id: TransportId, keys: &SrtpKeys) -> Result<(), Refusal> {
        let transport = self.transports.get_mut(id.0).ok_or(Refusal::NoSuchAddress)?;
        if let Security::Open(open) = &transport.security {
            return if open.keys == *keys { Ok(()) } else { Err(Refusal::Invalid) };
        }
        let open = Open::new(keys).map_err(|_| Refusal::Invalid)?;
        transport.security = Security::Open(Box::new(open));
        self.start_transport(now, id);
        Ok(())
    }

    fn put_path(&mut self, now: Instant, path: &plan::Path) -> Result<(), Refusal> {
        let id = path.transport;
        self.check_shard(id.0)?;
        let transport = self.transports.get_mut(id.0).ok_or(Refusal::NoSuchReference)?;
        // What this process, or its predecessor, learnt from the wire is newer than what the controller knows.
        if let Some(known) = transport.path() {
            if known != *path {
                self.learn_path(id);
            }
            return Ok(());
        }
        let changes = transport.agent.restore(now, path);
        self.rows.store_path(transport.row, Some(path));
        let five_tuple = FiveTuple { local: path.local, remote: path.remote };
        self.apply_ice(now, id, five_tuple, Changes { nominated: false, ..changes });
        Ok(())
    }

    fn remove_transport(&mut self, id: TransportId) {
        let Some(transport) = self.transports.get(id.0) else { return };
        let (tracks, egresses) = (transport.tracks.clone(), transport.egresses.clone());
        for egress in egresses {
            self.remove_egress(egress);
        }
        for track in tracks {
            self.remove_track(track);
        }
        if let Some(transport) = self.transports.remove(id.0) {
            for five_tuple in transport.agent.five_tuples() {
                self.demux.forget(five_tuple, id);
            }
        }
        self.rows.free_slot(id, Keep::Nothing);
    }

    fn remove_path(&mut self, id: TransportId) {
        let Some(transport) = self.transports.get_mut(id.0) else { return };
        if let Some((five_tuple, _)) = transport.agent.path() {
            transport.agent.forget(five_tuple);
            self.rows.store_path(transport.row, None);
            self.demux.forget(five_tuple, id);
        }
    }

    fn remove_older_transport(&mut self, id: TransportId) {
        let older = self.transports.iter().map(|transport| transport.plan.id).find(|old| old.slot() == id.slot());
        if let Some(older) = older {
            self.remove_transport(older);
        }
    }

    pub(super) fn check_shard(&self, address: Address) -> Result<(), Refusal> {
        if address.shard() == self.config.shard { Ok(()) } else { Err(Refusal::NoSuchAddress) }
    }

    pub(super) fn make_place(&self, address: Address, place: Place) -> Result<Place, Refusal> {
        self.check_shard(address)?;
        match place {
            Place::Beyond => Err(Refusal::NoSuchAddress),
            Place::Newer => Err(Refusal::StaleGeneration),
            Place::Free | Place::Living | Place::Older => Ok(place),
        }
    }

    /// Starts what a transport does by itself once it has keys and a peer.
    pub(super) fn start_transport(&mut self, now: Instant, id: TransportId) {
        let Some(transport) = self.transports.get_mut(id.0) else { return };
        if transport.agent.target().is_none() || transport.open().is_err() {
            return;
        }
        for timer in [Timer::KeyFrame, Timer::Report, Timer::Feedback] {
            self.timers.arm(id, &mut transport.deadlines, timer, now);
        }
        let egresses = transport.egresses.clone();
        for egress in egresses {
            let source = self.targets.get(egress.0).and_then(|target| target.plan.source.as_ref());
            if let Some(track) = source.map(|source| source.track) {
                self.start_from_history(now, egress, track);
            }
        }
    }
}

fn check_transport(plan: &plan::Transport) -> Result<(), Refusal> {
    let of_another = plan.credentials.iter().any(|ufrag| ufrag.transport != plan.id);
    let count = plan.credentials.len();
    if of_another || count == 0 || count > CREDENTIALS_MAX || plan.cname.len() > CNAME_BYTES_MAX {
        return Err(Refusal::Invalid);
    }
    Ok(())
}
