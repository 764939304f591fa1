"""Publishes or plays with aiortc: `aiortc_peer.py publish|play URL TOKEN vp8|h264`.

Prints a report a line: what it has sent, or what it has decoded. Leaves when its input ends.
"""

import asyncio
import fractions
import math
import struct
import sys
import time

import av
from aiortc import (
    AudioStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCRtpSender,
    RTCSessionDescription,
    VideoStreamTrack,
)
from aiortc.mediastreams import MediaStreamError

from signalling import Report, Resource, when_input_ends

WIDTH, HEIGHT = 320, 240
SAMPLES = 960  # 20 ms at 48 kHz


class Picture(VideoStreamTrack):
    """Bars that move, so that every frame is another one."""

    def __init__(self, report):
        super().__init__()
        self._report = report

    async def recv(self):
        pts, time_base = await self.next_timestamp()
        number = self._report.counts["video"]
        frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
        row = bytes((16 + (x + 4 * number) % 200) for x in range(frame.planes[0].line_size))
        frame.planes[0].update(row * HEIGHT)
        for plane in frame.planes[1:]:
            plane.update(bytes([(number * 3) % 256]) * plane.buffer_size)
        frame.pts, frame.time_base = pts, time_base
        self._report.counts["video"] += 1
        return frame


class Tone(AudioStreamTrack):
    """A tone of 440 Hz."""

    def __init__(self, report):
        super().__init__()
        self._report = report
        self._start = None
        self._samples = 0

    async def recv(self):
        if self._start is None:
            self._start = time.monotonic()
        else:
            await asyncio.sleep(max(0, self._start + self._samples / 48000 - time.monotonic()))
        frame = av.AudioFrame(format="s16", layout="mono", samples=SAMPLES)
        phase = (2 * math.pi * 440 * (self._samples + i) / 48000 for i in range(SAMPLES))
        frame.planes[0].update(struct.pack(f"<{SAMPLES}h", *(int(8000 * math.sin(angle)) for angle in phase)))
        frame.sample_rate, frame.pts, frame.time_base = 48000, self._samples, fractions.Fraction(1, 48000)
        self._samples += SAMPLES
        self._report.counts["audio"] += 1
        return frame


async def count(track, report):
    try:
        while True:
            await track.recv()
            report.counts[track.kind] += 1
    except MediaStreamError:
        pass


def prefer(transceiver, source, codec):
    wanted = [c for c in source.getCapabilities("video").codecs if c.mimeType.lower() == f"video/{codec}"]
    wanted += [c for c in source.getCapabilities("video").codecs if c.mimeType.lower() == "video/rtx"]
    transceiver.setCodecPreferences(wanted)


async def main(role, url, token, codec):
    report = Report()
    # Not `MAX_BUNDLE`: aiortc 1.16 then takes the candidates of the last m-line, where a bundling server puts none
    # (RFC 9143 section 7.1.3).
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    tasks = []
    if role == "publish":
        connection.addTransceiver(Tone(report), direction="sendonly")
        prefer(connection.addTransceiver(Picture(report), direction="sendonly"), RTCRtpSender, codec)
    else:
        connection.addTransceiver("audio", direction="recvonly")
        prefer(connection.addTransceiver("video", direction="recvonly"), RTCRtpReceiver, codec)
        connection.on("track", lambda track: tasks.append(asyncio.ensure_future(count(track, report))))

    @connection.on("connectionstatechange")
    def changed():
        report.connected = connection.connectionState == "connected"

    resource = Resource(url, token)
    await connection.setLocalDescription(await connection.createOffer())
    answer = await asyncio.to_thread(resource.offer, connection.localDescription.sdp)
    await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))

    loop, over = asyncio.get_running_loop(), asyncio.Event()
    when_input_ends(lambda: loop.call_soon_threadsafe(over.set))
    while not over.is_set():
        report.write()
        try:
            await asyncio.wait_for(over.wait(), 0.2)
        except asyncio.TimeoutError:
            pass
    await asyncio.to_thread(resource.leave)
    await connection.close()


asyncio.run(main(*sys.argv[1:]))
