//! One peer connection on the foreign stack with its own socket, driven by a [`crate::peer::worker::Worker`].

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol as SocketProtocol, Socket, Type};
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::media::{Direction, KeyframeRequestKind, MediaKind, Mid, Simulcast, SimulcastLayer};
use str0m::net::{Protocol, Receive};
use str0m::rtp::Extension;
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

use super::connection::{Connection, State};
use crate::call::{Receiver, Sender};
use crate::film::{self, ProjectorRole, RecorderRole};
use crate::limits::SOCKET_BUFFER_BYTES;
use crate::measure::clock::Now;
use crate::payload::Codec;
use crate::publisher::PublisherRole;
use crate::sys;
use crate::viewer::ViewerRole;

/// Statistics of the stack are read this often.
const STATISTICS_INTERVAL: Duration = Duration::from_secs(1);

/// The id under which dependency descriptors are offered; the stack uses 1 to 4, 10, 11 and 13 itself.
const DESCRIPTOR_ID: u8 = 12;

/// When and how a packet came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    /// Kernel arrival stamp, `CLOCK_REALTIME` in nanoseconds; the time of reading where there is none.
    pub(crate) realtime_ns: u64,
    /// The same as an instant.
    pub(crate) at: Instant,
    /// SSRC on the wire: another one than the packet's own when it was repaired by RFC 4588.
    pub(crate) wire_ssrc: Option<u32>,
}

/// What the endpoint does with its media.
#[derive(Debug)]
pub(crate) enum Role {
    /// Sends synthetic media.
    Publisher(Box<PublisherRole>),
    /// Receives and counts.
    Viewer(Box<ViewerRole>),
    /// Sends in a call.
    Sender(Box<Sender>),
    /// Receives in a call.
    Receiver(Box<Receiver>),
    /// Sends a film.
    Projector(Box<ProjectorRole>),
    /// Keeps what comes.
    Recorder(Box<RecorderRole>),
}

/// What to negotiate.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) direction: Direction,
    pub(crate) kinds: Vec<MediaKind>,
    /// Names of the encodings of video, best last; none for a single one without a name.
    pub(crate) encodings: &'static [&'static str],
    pub(crate) codecs: Vec<Codec>,
    /// Clone RTCP, so that a BYE is seen.
    pub(crate) watch_rtcp: bool,
    pub(crate) local_ip: IpAddr,
    /// Leave the candidates out of the offer.
    pub(crate) trickle: bool,
    /// Negotiate dependency descriptors.
    pub(crate) descriptors: bool,
}

/// A peer connection with its socket.
pub(crate) struct Endpoint {
    rtc: Rtc,
    socket: UdpSocket,
    local: SocketAddr,
    role: Role,
    connection: Arc<Mutex<Connection>>,
    rtc_timeout: Instant,
    pending: Option<SdpPendingOffer>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("local", &self.local).finish_non_exhaustive()
    }
}

impl Endpoint {
    fn new(setup: &Setup, role: Role) -> Result<Self> {
        let socket = bind(setup.local_ip).context("cannot bind a UDP socket")?;
        let local = socket.local_addr()?;
        let now = Instant::now();
        Ok(Self {
            rtc: configure(setup).build(now),
            socket,
            local,
            role,
            connection: Arc::new(Mutex::new(Connection::new())),
            rtc_timeout: now,
            pending: None,
        })
    }

    /// Makes an endpoint and its offer.
    pub(crate) fn offering(setup: &Setup, role: Role) -> Result<(Self, String)> {
        let mut endpoint = Self::new(setup, role)?;
        if !setup.trickle {
            endpoint.add_candidate()?;
        }
        let mut mids = Vec::new();
        let mut api = endpoint.rtc.sdp_api();
        for kind in &setup.kinds {
            mids.push((api.add_media(*kind, setup.direction, None, None, simulcast(setup, *kind)), *kind));
        }
        let (offer, pending) = api.apply().context("an offer without media")?;
        endpoint.pending = Some(pending);
        if setup.trickle {
            endpoint.add_candidate()?;
        }
        for (mid, kind) in mids {
            endpoint.role_added(mid, kind);
        }
        Ok((endpoint, offer.to_sdp_string()))
    }

    /// Makes an endpoint that answers an offer.
    pub(crate) fn answering(setup: &Setup, role: Role, offer: &str) -> Result<(Self, String)> {
        let mut endpoint = Self::new(setup, role)?;
        endpoint.add_candidate()?;
        let answer = endpoint.accept_offer(offer)?;
        Ok((endpoint, answer))
    }

    /// Answers an offer of the peer.
    pub(crate) fn accept_offer(&mut self, offer: &str) -> Result<String> {
        // The stack would wait for the handshake where the offer leaves it the choice; answerers begin it (RFC 8842 section 5.3),
        // as browsers do, and a server that cannot begin takes nothing else.
        let offer = SdpOffer::from_sdp_string(&offer.replace("a=setup:actpass", "a=setup:passive"))?;
        Ok(self.rtc.sdp_api().accept_offer(offer)?.to_sdp_string())
    }

    /// Address of the socket.
    #[cfg(test)]
    pub(crate) fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// Takes the answer to the outstanding offer.
    pub(crate) fn accept_answer(&mut self, answer: &str) -> Result<()> {
        let pending = self.pending.take().context("there is no outstanding offer")?;
        let answer = SdpAnswer::from_sdp_string(answer)?;
        self.rtc.sdp_api().accept_answer(pending, answer)?;
        Ok(())
    }

    /// Makes an offer that turns m-lines; `None` when nothing changes by that.
    pub(crate) fn offer_directions(&mut self, turned: &[(Mid, Direction)]) -> Option<String> {
        let mut api = self.rtc.sdp_api();
        for (mid, direction) in turned {
            api.set_direction(*mid, *direction);
        }
        let (offer, pending) = api.apply()?;
        self.pending = Some(pending);
        Some(offer.to_sdp_string())
    }

    /// Forgets streams that the peer sends no more.
    pub(crate) fn forget_streams(&mut self, ssrcs: &[u32]) {
        let mut api = self.rtc.direct_api();
        for ssrc in ssrcs {
            api.remove_stream_rx((*ssrc).into());
        }
    }

    /// Makes an offer with new ICE credentials, RFC 8445 section 2.4.
    pub(crate) fn offer_ice_restart(&mut self) -> Result<String> {
        let mut api = self.rtc.sdp_api();
        api.ice_restart(true);
        let (offer, pending) = api.apply().context("a restart changes nothing")?;
        self.pending = Some(pending);
        Ok(offer.to_sdp_string())
    }

    fn add_candidate(&mut self) -> Result<()> {
        let candidate = Candidate::host(self.local, Protocol::Udp)?;
        self.rtc.add_local_candidate(candidate);
        Ok(())
    }

    /// Candidate attributes of the socket.
    pub(crate) fn local_candidates(&self) -> Result<Vec<String>> {
        Ok(vec![Candidate::host(self.local, Protocol::Udp)?.to_sdp_string()])
    }

    fn role_added(&mut self, mid: Mid, kind: MediaKind) {
        match &mut self.role {
            Role::Publisher(publisher) => publisher.add_media(mid, kind),
            Role::Sender(sender) => sender.add_media(mid, kind),
            Role::Projector(projector) => projector.add_media(mid),
            Role::Viewer(_) | Role::Receiver(_) | Role::Recorder(_) => {}
        }
    }

    /// Takes a datagram in.
    pub(crate) fn handle_datagram(&mut self, now: Now, run: &sys::Run<'_>, datagram: &[u8]) -> Result<()> {
        let realtime_ns = run.arrival_ns.unwrap_or(now.realtime_ns);
        let at = now.instant_of(realtime_ns);
        let wire_ssrc = {
            let mut connection = self.connection();
            connection.note_handshake(at, datagram);
            connection.count_received(datagram, run.dropped)
        };
        let Ok(input) = Receive::new(Protocol::Udp, run.source, self.local, datagram) else {
            self.connection().count_malformed();
            return Ok(());
        };
        self.rtc.handle_input(Input::Receive(now.instant, input))?;
        let arrival = Arrival { realtime_ns, at, wire_ssrc };
        self.drain(now, Some(arrival))
    }

    /// Does what is due: the stack's timers and the role's.
    pub(crate) fn handle_timeout(&mut self, now: Now) -> Result<()> {
        if self.rtc_timeout <= now.instant {
            self.step(now)?;
        }
        loop {
            // The stack asks for one mutation at a time, each followed by a full drain.
            let wrote = match &mut self.role {
                Role::Publisher(publisher) => publisher.write_due(&mut self.rtc),
                Role::Viewer(viewer) => {
                    let wanted = viewer.key_frame_wanted(now.instant);
                    wanted.is_some_and(|mid| request_key_frame(&mut self.rtc, mid))
                }
                Role::Sender(sender) => sender.write_due(&mut self.rtc),
                Role::Projector(projector) => projector.write_due(&mut self.rtc),
                Role::Receiver(_) | Role::Recorder(_) => false,
            };
            if !wrote {
                return Ok(());
            }
            self.step(Now::read())?;
        }
    }

    /// Lets time pass in the stack and drains it.
    pub(crate) fn step(&mut self, now: Now) -> Result<()> {
        self.rtc.handle_input(Input::Timeout(now.instant))?;
        self.drain(now, None)
    }

    /// When [`Endpoint::handle_timeout`] wants to be called.
    pub(crate) fn poll_timeout(&self) -> Instant {
        let role = match &self.role {
            Role::Publisher(publisher) => publisher.poll_timeout(),
            Role::Viewer(viewer) => viewer.poll_timeout(),
            Role::Sender(sender) => sender.poll_timeout(),
            Role::Projector(projector) => projector.poll_timeout(),
            Role::Receiver(_) | Role::Recorder(_) => None,
        };
        role.map_or(self.rtc_timeout, |due| due.min(self.rtc_timeout))
    }

    /// Says goodbye: RTCP BYE and DTLS `close_notify`.
    pub(crate) fn close(&mut self, now: Now) -> Result<()> {
        self.rtc.close()?;
        self.step(now)
    }

    /// Asks for a key frame now, whatever the viewer has.
    pub(crate) fn request_key_frames(&mut self) {
        if let Role::Viewer(viewer) = &self.role {
            for mid in viewer.video_mids() {
                request_key_frame(&mut self.rtc, mid);
            }
        }
    }

    pub(crate) fn publisher_mut(&mut self) -> Option<&mut PublisherRole> {
        match &mut self.role {
            Role::Publisher(publisher) => Some(publisher),
            Role::Viewer(_) | Role::Sender(_) | Role::Receiver(_) | Role::Projector(_) | Role::Recorder(_) => None,
        }
    }

    pub(crate) fn sender_mut(&mut self) -> Option<&mut Sender> {
        match &mut self.role {
            Role::Sender(sender) => Some(sender),
            Role::Publisher(_) | Role::Viewer(_) | Role::Receiver(_) | Role::Projector(_) | Role::Recorder(_) => None,
        }
    }

    pub(crate) fn projector_mut(&mut self) -> Option<&mut ProjectorRole> {
        match &mut self.role {
            Role::Projector(projector) => Some(projector),
            Role::Publisher(_) | Role::Viewer(_) | Role::Sender(_) | Role::Receiver(_) | Role::Recorder(_) => None,
        }
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The record that is shared with the handle.
    pub(crate) fn connection_handle(&self) -> Arc<Mutex<Connection>> {
        Arc::clone(&self.connection)
    }

    pub(crate) fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drain(&mut self, now: Now, arrival: Option<Arrival>) -> Result<()> {
        loop {
            match self.rtc.poll_output()? {
                Output::Timeout(due) => {
                    self.rtc_timeout = due;
                    return Ok(());
                }
                Output::Transmit(transmit) => {
                    let sent = self.socket.send_to(&transmit.contents, transmit.destination);
                    self.connection().count_sent(transmit.contents.len(), sent.err());
                }
                Output::Event(event) => self.handle_event(now, arrival, event),
            }
        }
    }

    fn handle_event(&mut self, now: Now, arrival: Option<Arrival>, event: Event) {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the foreign enum is open, and most of it is not ours")]
        match event {
            Event::IceConnectionStateChange(state) => {
                self.connection().enter(now.instant, State::of_ice(state));
            }
            Event::Connected => {
                self.connection().enter(now.instant, State::DtlsConnected);
                match &mut self.role {
                    Role::Publisher(publisher) => publisher.handle_connected(now.instant),
                    Role::Sender(sender) => sender.handle_connected(now.instant),
                    Role::Projector(projector) => projector.handle_connected(now.instant),
                    Role::Viewer(_) | Role::Receiver(_) | Role::Recorder(_) => {}
                }
            }
            Event::Closed => self.connection().enter(now.instant, State::Closed),
            Event::MediaAdded(media) => self.role_added(media.mid, media.kind),
            Event::PeerStats(statistics) => self.connection().update(&statistics),
            Event::RtpPacket(packet) => {
                let arrival =
                    arrival.unwrap_or(Arrival { realtime_ns: now.realtime_ns, at: now.instant, wire_ssrc: None });
                match &mut self.role {
                    Role::Viewer(viewer) => viewer.handle_packet(&mut self.rtc, arrival, &packet),
                    Role::Receiver(receiver) => receiver.handle_packet(&mut self.rtc, arrival, &packet),
                    Role::Recorder(recorder) => recorder.handle_packet(arrival, &packet),
                    Role::Publisher(_) | Role::Sender(_) | Role::Projector(_) => {}
                }
            }
            event => match &mut self.role {
                Role::Publisher(publisher) => publisher.handle_event(&event),
                Role::Viewer(viewer) => viewer.handle_event(&event),
                Role::Sender(sender) => sender.handle_event(&event),
                Role::Projector(projector) => projector.handle_event(&event),
                Role::Receiver(_) | Role::Recorder(_) => {}
            },
        }
    }
}

/// The encodings to offer, RFC 8853.
fn simulcast(setup: &Setup, kind: MediaKind) -> Option<Simulcast> {
    if kind != MediaKind::Video || setup.encodings.is_empty() {
        return None;
    }
    let mut simulcast = Simulcast::new();
    for name in setup.encodings {
        simulcast.add_send_layer(SimulcastLayer::new(name));
    }
    Some(simulcast)
}

fn request_key_frame(rtc: &mut Rtc, mid: Mid) -> bool {
    match rtc.direct_api().stream_rx_by_mid(mid, None) {
        Some(stream) => {
            stream.request_keyframe(KeyframeRequestKind::Pli);
            true
        }
        None => false,
    }
}

fn configure(setup: &Setup) -> RtcConfig {
    let mut config = RtcConfig::new()
        .set_rtp_mode(true)
        .set_stats_interval(Some(STATISTICS_INTERVAL))
        .enable_raw_packets(setup.watch_rtcp)
        .clear_codecs();
    if setup.descriptors {
        config = config.set_extension(DESCRIPTOR_ID, Extension::with_serializer(film::URI, film::Carrier));
    }
    for codec in &setup.codecs {
        config = match codec {
            Codec::Vp8 => config.enable_vp8(true),
            Codec::Vp9 => config.enable_vp9(true),
            Codec::H264 => config.enable_h264(true),
            Codec::Av1 => config.enable_av1(true),
            Codec::Opus => config.enable_opus(true, false),
        };
    }
    config
}

fn bind(ip: IpAddr) -> io::Result<UdpSocket> {
    let address = SocketAddr::new(ip, 0);
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(SocketProtocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.bind(&address.into())?;
    let socket = UdpSocket::from(socket);
    sys::enable_receive_metadata(socket.as_fd())?;
    Ok(socket)
}
