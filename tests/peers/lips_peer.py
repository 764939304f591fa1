"""A flash and a beep at the same moment, twice a second: `lips_peer.py publish` and `lips_peer.py watch`.

Who publishes sends the picture in three encodings by rid and the sound beside it. All of it is packed here, so that what its
time says is exact: each stream's RTP clock begins anywhere, the larger an encoding the later it is sent, and sender reports
map all clocks to one that is not the machine's. aiortc gives connection, keys and codecs.

Who watches decodes, and maps what it decodes to the clock of the sender reports that it gets: each line of its own lists
[time, lines, late] of every flash and [time, late] of every beep, in seconds; `late` is how long before its coming that was.

Descriptions go as lines, {"offer": SDP} and {"answer": SDP}, and whoever drives it carries them to and fro. It leaves when its
input ends.
"""

import asyncio
import fractions
import json
import math
import random
import re
import struct
import sys
import threading
import time

import av
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription, clock, rtcrtpreceiver
from aiortc.codecs.opus import OpusEncoder
from aiortc.codecs.vpx import Vp8Encoder
from aiortc.mediastreams import MediaStreamError
from aiortc.rtcrtpparameters import RTCRtpHeaderExtensionParameters, RTCRtpParameters
from aiortc.rtp import (
    HeaderExtensionsMap,
    RtcpPacket,
    RtcpPsfbPacket,
    RtcpSdesPacket,
    RtcpSenderInfo,
    RtcpSourceInfo,
    RtcpSrPacket,
    RtpPacket,
)

FRAMES_PER_SECOND = 20
FRAMES_PER_FLASH = 10
# Encodings, the smallest first: rid, size, and how many seconds after it was encoded it is sent.
ENCODINGS = [("q", 160, 90, 0), ("h", 320, 180, 0.01), ("f", 640, 360, 0.02)]
DARK, LIGHT = 30, 220
SAMPLES = 960  # 20 ms at 48 kHz
BEEP_SAMPLES = 4800
BEEP_HZ = 1000
LOUD, QUIET = 6000, 300
REPORT_SECONDS = 0.5
# By so much the publisher's clock is behind the machine's.
CLOCK_BEHIND = 1000.25
MID = "urn:ietf:params:rtp-hdrext:sdes:mid"
RID = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"
RID_ID = 12


class Stream:
    """One SSRC being sent."""

    def __init__(self, transport, extensions, mid, payload_type, rate, ssrc, rid=None):
        self._transport, self._extensions, self._mid, self._rid = transport, extensions, mid, rid
        self._payload_type, self._rate, self.ssrc = payload_type, rate, ssrc
        self._first, self._number = random.getrandbits(32), random.getrandbits(15)
        self._packets = self._octets = 0

    def _timestamp(self, seconds):
        return (self._first + round(seconds * self._rate)) & 0xFFFFFFFF

    async def send(self, payloads, seconds, marker):
        for place, payload in enumerate(payloads):
            packet = RtpPacket(
                payload_type=self._payload_type,
                marker=int(marker and place + 1 == len(payloads)),
                sequence_number=self._number,
                timestamp=self._timestamp(seconds),
                ssrc=self.ssrc,
                payload=payload,
            )
            packet.extensions.mid, packet.extensions.rtp_stream_id = self._mid, self._rid
            await self._transport._send_rtp(packet.serialize(self._extensions))
            self._number = (self._number + 1) & 0xFFFF
            self._packets += 1
            self._octets += len(payload)

    async def send_later(self, delay, payloads, seconds):
        await asyncio.sleep(delay)
        await self.send(payloads, seconds, marker=True)

    async def report(self, seconds, ntp):
        """Says what this stream's clock shows at a moment of the publisher's clock (RFC 3550 section 6.4.1)."""
        info = RtcpSenderInfo(int(ntp * 2**32), self._timestamp(seconds), self._packets, self._octets)
        names = RtcpSdesPacket(chunks=[RtcpSourceInfo(ssrc=self.ssrc, items=[(1, b"lips")])])
        await self._transport._send_rtp(bytes(RtcpSrPacket(ssrc=self.ssrc, sender_info=info)) + bytes(names))


class Publisher:
    def __init__(self):
        # Not `MAX_BUNDLE`: see aiortc_peer.py.
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._sides = {kind: self._connection.addTransceiver(kind, direction="sendonly") for kind in ("audio", "video")}
        codecs = RTCRtpSender.getCapabilities("video").codecs
        self._sides["video"].setCodecPreferences([codec for codec in codecs if codec.mimeType == "video/VP8"])
        for side in self._sides.values():
            # What aiortc sends by itself, empty sender reports above all, is left out.
            side.sender.send = self._nothing
        self._offer = ""
        self._wanted = set()
        self._sound, self._pictures = None, []
        self._tasks = set()

    async def _nothing(self, parameters):
        pass

    async def offer(self):
        await self._connection.setLocalDescription(await self._connection.createOffer())
        self._offer = self._with_encodings(self._connection.localDescription.sdp)
        return self._offer

    async def connect(self, answer):
        await self._connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        transport = self._sides["video"].sender.transport
        transport._handle_rtcp_data = self._hear
        while transport.state != "connected":
            await asyncio.sleep(0.01)
        mids = re.search(rf"a=extmap:(\d+)\S* {MID}", self._offer)
        extensions = HeaderExtensionsMap()
        pairs = [(int(mids[1]), MID), (RID_ID, RID)]
        extensions.configure(
            RTCRtpParameters(headerExtensions=[RTCRtpHeaderExtensionParameters(id=id, uri=uri) for id, uri in pairs])
        )

        def stream(kind, codec, rate, *ssrc_and_rid):
            payload_type = int(re.search(rf"a=rtpmap:(\d+) {codec}/{rate}", self._offer)[1])
            return Stream(transport, extensions, self._sides[kind].mid, payload_type, rate, *ssrc_and_rid)

        self._sound = stream("audio", "opus", 48000, self._sides["audio"].sender._ssrc)
        self._pictures = [stream("video", "VP8", 90000, random.getrandbits(32), rid) for rid, *_ in ENCODINGS]

    def _with_encodings(self, sdp):
        """Offers the picture in encodings, whose SSRCs are not named (RFC 8853)."""
        before, video = sdp.split("m=video", 1)
        lines = [line for line in video.split("\r\n") if line and not line.startswith("a=ssrc")]
        rids = [rid for rid, *_ in ENCODINGS]
        lines += [f"a=extmap:{RID_ID} {RID}", *(f"a=rid:{rid} send" for rid in rids), f"a=simulcast:send {';'.join(rids)}"]
        return before + "m=video" + "\r\n".join(lines) + "\r\n"

    async def _hear(self, data):
        """Notes which encodings a key frame is wanted of."""
        self._wanted |= {packet.media_ssrc for packet in RtcpPacket.parse(data) if isinstance(packet, RtcpPsfbPacket)}

    async def send(self):
        begun = time.monotonic()
        origin = clock.current_ntp_time() / 2**32 - CLOCK_BEHIND
        await asyncio.gather(self._send_pictures(begun), self._send_sound(begun), self._send_reports(begun, origin))

    async def _send_pictures(self, begun):
        encoders = [Vp8Encoder() for _ in ENCODINGS]
        number = 0
        while True:
            # Where the machine has no time for all of them, some are left out, as by a camera.
            number = max(number, math.floor((time.monotonic() - begun) * FRAMES_PER_SECOND))
            seconds = number / FRAMES_PER_SECOND
            await asyncio.sleep(max(0, begun + seconds - time.monotonic()))
            luma = LIGHT if number % FRAMES_PER_FLASH == 0 else DARK
            self._tasks = {task for task in self._tasks if not task.done()}
            for stream, encoder, (_, width, height, later) in zip(self._pictures, encoders, ENCODINGS):
                frame = picture(width, height, luma, number)
                wanted = stream.ssrc in self._wanted
                self._wanted.discard(stream.ssrc)
                payloads, _ = encoder.encode(frame, force_keyframe=wanted)
                self._tasks.add(asyncio.ensure_future(stream.send_later(later, payloads, seconds)))
            number += 1

    async def _send_sound(self, begun):
        encoder = OpusEncoder()
        between = 48000 * FRAMES_PER_FLASH // FRAMES_PER_SECOND
        number = 0
        while True:
            first = number * SAMPLES
            await asyncio.sleep(max(0, begun + first / 48000 - time.monotonic()))
            values = (tone(sample) if sample % between < BEEP_SAMPLES else 0 for sample in range(first, first + SAMPLES))
            frame = av.AudioFrame(format="s16", layout="mono", samples=SAMPLES)
            frame.planes[0].update(struct.pack(f"<{SAMPLES}h", *values))
            frame.sample_rate, frame.pts, frame.time_base = 48000, first, fractions.Fraction(1, 48000)
            payloads, _ = encoder.encode(frame)
            await self._sound.send(payloads, first / 48000, marker=False)
            number += 1

    async def _send_reports(self, begun, origin):
        while True:
            for stream in [self._sound, *self._pictures]:
                seconds = time.monotonic() - begun
                await stream.report(seconds, origin + seconds)
            await asyncio.sleep(REPORT_SECONDS)

    async def leave(self):
        await self._connection.close()


def picture(width, height, luma, number):
    frame = av.VideoFrame(width, height, "yuv420p")
    for place, plane in enumerate(frame.planes):
        plane.update(bytes([128 if place else luma]) * plane.buffer_size)
    frame.pts, frame.time_base = number * 90000 // FRAMES_PER_SECOND, fractions.Fraction(1, 90000)
    return frame


def tone(sample):
    return int(16000 * math.sin(2 * math.pi * BEEP_HZ * sample / 48000))


class Viewer:
    """Decodes, and says when what it sees and hears was made."""

    def __init__(self):
        # RTP timestamps are kept as they come.
        rtcrtpreceiver.TimestampMapper.map = lambda _, timestamp: timestamp
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._connection.on("track", self._take)
        self._clocks = {}
        self._flashes, self._beeps, self._tasks = [], [], []
        self._lines = 0

    async def answer(self, offer):
        await self._connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        await self._connection.setLocalDescription(await self._connection.createAnswer())
        return self._connection.localDescription.sdp

    def report(self):
        return {"lines": self._lines, "flashes": self._flashes, "beeps": self._beeps}

    def _take(self, track):
        receiver = next(each.receiver for each in self._connection.getTransceivers() if each.receiver.track is track)
        native = receiver._handle_rtcp_packet

        async def hear(packet):
            if isinstance(packet, RtcpSrPacket):
                self._clocks[track.kind] = (packet.sender_info.ntp_timestamp / 2**32, packet.sender_info.rtp_timestamp)
            await native(packet)

        receiver._handle_rtcp_packet = hear
        self._tasks.append(asyncio.ensure_future(self._watch(track) if track.kind == "video" else self._listen(track)))

    def _made(self, kind, timestamp, rate):
        """When something was made, and how long ago; nothing before the first report."""
        if kind not in self._clocks:
            return None
        ntp, reported = self._clocks[kind]
        ticks = (timestamp - reported + 2**31) % 2**32 - 2**31
        made = ntp + ticks / rate
        return made, clock.current_ntp_time() / 2**32 - made

    async def _watch(self, track):
        try:
            while True:
                frame = await track.recv()
                self._lines = frame.height
                middle = frame.planes[0].line_size * (frame.height // 2) + frame.width // 2
                made = self._made("video", frame.pts, 90000)
                if bytes(frame.planes[0])[middle] > (DARK + LIGHT) // 2 and made is not None:
                    self._flashes.append([made[0], frame.height, made[1]])
        except MediaStreamError:
            pass

    async def _listen(self, track):
        is_loud, quiet = True, 0
        try:
            while True:
                frame = await track.recv()
                samples = struct.unpack(f"<{frame.samples * 2}h", bytes(frame.planes[0])[: frame.samples * 4])[::2]
                for place, sample in enumerate(map(abs, samples)):
                    quiet = quiet + 1 if sample < QUIET else 0
                    if is_loud and quiet > SAMPLES:
                        is_loud = False
                    elif not is_loud and sample > LOUD:
                        is_loud = True
                        made = self._made("audio", (frame.pts + place) & 0xFFFFFFFF, 48000)
                        if made is not None:
                            self._beeps.append(list(made))
        except MediaStreamError:
            pass

    async def leave(self):
        await self._connection.close()


def say(line):
    print(json.dumps(line), flush=True)


def lines_of_input(loop, queue):
    for line in sys.stdin:
        loop.call_soon_threadsafe(queue.put_nowait, json.loads(line))
    loop.call_soon_threadsafe(queue.put_nowait, None)


async def publish(queue):
    publisher = Publisher()
    say({"offer": await publisher.offer()})
    await publisher.connect((await queue.get())["answer"])
    say({"connected": True})
    sending, over = asyncio.ensure_future(publisher.send()), asyncio.ensure_future(queue.get())
    await asyncio.wait([sending, over], return_when=asyncio.FIRST_COMPLETED)
    if sending.done():
        sending.result()
    sending.cancel()
    await publisher.leave()


async def watch(queue):
    viewer = Viewer()
    while True:
        try:
            command = await asyncio.wait_for(queue.get(), 0.2)
        except asyncio.TimeoutError:
            say(viewer.report())
            continue
        if command is None:
            break
        say({"answer": await viewer.answer(command["offer"])})
    await viewer.leave()


async def main(role):
    queue = asyncio.Queue()
    arguments = (asyncio.get_running_loop(), queue)
    threading.Thread(target=lines_of_input, args=arguments, daemon=True).start()
    await (publish if role == "publish" else watch)(queue)


asyncio.run(main(sys.argv[1]))
