//! STUN and DTLS: who may talk to a transport, and what of it the control plane hears.

use sluice_protocol::event::Event;
use sluice_protocol::ice::Ufrag;
use sluice_protocol::ids::TransportId;
use sluice_protocol::plan::{Key, Object};
use sluice_protocol::time::Instant;

use super::Engine;
use crate::discard::Discard;
use crate::port::{Datagram, FiveTuple};
use crate::shard::timer::Timer;
use crate::transport::{Changes, Consent, Security, Transport};
use crate::wire::dtls::Association;
use crate::wire::stun::{Binding, Class, RESPONSE_SIZE_BYTES_MAX};

impl Engine {
    /// Answers a binding request of a peer that shows the right credentials.
    pub(super) fn receive_stun(&mut self, now: Instant, datagram: &Datagram<'_>) -> Result<(), Discard> {
        let binding = Binding::parse(datagram.bytes).map_err(|_| Discard::StunMalformed)?;
        if binding.class != Class::Request {
            return Err(Discard::StunUnexpected);
        }
        let (local, _) = binding.ufrags().ok_or(Discard::StunMalformed)?;
        let id = Ufrag::parse(local).ok_or(Discard::StunUnknownUfrag)?.transport;
        let is_held = self.is_held_by_another(now, id, datagram.five_tuple);
        let transport = self.transports.get_mut(id.0).ok_or(Discard::StunUnknownUfrag)?;
        let mut buffer = [0; RESPONSE_SIZE_BYTES_MAX];
        let answer = transport.agent.handle_request(now, datagram.five_tuple, &binding, is_held, &mut buffer)?;
        if let Some(changes) = answer.changes {
            self.apply_ice(now, id, datagram.five_tuple, changes);
        }
        let response = buffer.get(..answer.size_bytes).unwrap_or(&[]);
        self.queue_control(id, datagram.five_tuple, response);
        answer.changes.map(|_| ()).ok_or(Discard::StunRefused)
    }

    /// Hands DTLS of a validated five-tuple to the control plane with the next flush.
    pub(super) fn receive_dtls(&mut self, now: Instant, datagram: &Datagram<'_>) -> Result<(), Discard> {
        let id = self.demux.transport(datagram.five_tuple)?;
        let transport = self.transports.get_mut(id.0).ok_or(Discard::UnvalidatedFiveTuple)?;
        let association = match transport.security {
            Security::Handshaking => Association::Handshaking,
            Security::Open(_) => Association::Connected,
        };
        transport.punts.admit(now, association, datagram.bytes)?;
        transport.agent.note_handshake(datagram.five_tuple);
        if self.punts.push(id, datagram.bytes) { Ok(()) } else { Err(Discard::DtlsCapped) }
    }

    /// Takes over what an authenticated request, or a restored path, changed.
    pub(super) fn apply_ice(&mut self, now: Instant, id: TransportId, five_tuple: FiveTuple, changes: Changes) {
        if let Some(former) = self.demux.validate(five_tuple, id) {
            self.take_five_tuple_from(former, five_tuple);
        }
        if let Some(forgotten) = changes.forgotten {
            self.demux.forget(forgotten, id);
        }
        if changes.nominated {
            self.learn_path(id);
        }
        if changes.connected {
            self.raise(Event::TransportConnected(id));
            self.start_transport(now, id);
        }
        self.arm_consent(id);
    }

    /// Stops what nobody consents to any more.
    pub(super) fn check_consent(&mut self, now: Instant, id: TransportId) {
        let Some(transport) = self.transports.get_mut(id.0) else { return };
        match transport.agent.check_consent(now) {
            Consent::Kept => self.arm_consent(id),
            Consent::Moved => {
                self.learn_path(id);
                self.arm_consent(id);
            }
            Consent::Lost => self.raise(Event::TransportSilent(id)),
        }
    }

    /// Tells a controller that has just come which transports are silent: the events that said so may have been lost.
    pub(super) fn announce_silence(&mut self) {
        let is_silent = |transport: &&Transport| transport.agent.is_silent();
        let silent: Vec<TransportId> =
            self.transports.iter().filter(is_silent).map(|transport| transport.plan.id).collect();
        for id in silent {
            self.raise(Event::TransportSilent(id));
        }
    }

    fn arm_consent(&mut self, id: TransportId) {
        let Some(transport) = self.transports.get_mut(id.0) else { return };
        if let Some(until) = transport.agent.consent_until() {
            self.timers.arm(id, &mut transport.deadlines, Timer::Consent, until);
        }
    }

    /// Tells whether the peer of another transport was heard on `five_tuple` just now. Source addresses can be forged, so
    /// whoever has a token for any room could otherwise end a stranger's session with one datagram.
    fn is_held_by_another(&self, now: Instant, id: TransportId, five_tuple: FiveTuple) -> bool {
        let holder = self.demux.transport(five_tuple).ok().filter(|holder| *holder != id);
        let holder = holder.and_then(|holder| self.transports.get(holder.0));
        holder.is_some_and(|holder| holder.agent.holds(now, five_tuple))
    }

    /// A five-tuple belongs to whoever authenticated on it last, once it is not held any more: a client that makes a new
    /// connection from its old port.
    fn take_five_tuple_from(&mut self, former: TransportId, five_tuple: FiveTuple) {
        let Some(transport) = self.transports.get_mut(former.0) else { return };
        if transport.agent.forget(five_tuple) {
            self.rows.store_path(transport.row, None);
            self.raise(Event::Forgotten(Key::Path(former)));
        }
    }

    /// Follows a peer to the pair that its newest sealed packet came from, where a late request has led elsewhere.
    pub(super) fn follow_newest(&mut self, now: Instant, id: TransportId, five_tuple: FiveTuple) {
        let Some(transport) = self.transports.get_mut(id.0) else { return };
        if transport.agent.note_newest(now, five_tuple) {
            self.learn_path(id);
            self.arm_consent(id);
        }
    }

    /// Stores where the peer is, for a successor, and tells the controller.
    pub(super) fn learn_path(&mut self, id: TransportId) {
        let Some(transport) = self.transports.get(id.0) else { return };
        if let Some(path) = transport.path() {
            self.rows.store_path(transport.row, Some(&path));
            self.raise(Event::Learnt(Box::new(Object::Path(path))));
        }
    }
}
