"""Publishes or plays with GStreamer's webrtcbin: `gstreamer_peer.py publish|play URL TOKEN vp8|h264|vp9`.

Prints a report a line: what it has encoded, or what it has decoded. Leaves when its input ends.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

from signalling import Report, Resource, when_input_ends  # noqa: E402

# Encoder, payloader, encoding name. Without a request there is a key frame every 300 frames.
CODECS = {
    "vp8": ("vp8enc deadline=1 cpu-used=8 keyframe-max-dist=300 target-bitrate=400000", "rtpvp8pay picture-id-mode=15-bit", "VP8"),
    "vp9": ("vp9enc deadline=1 cpu-used=8 keyframe-max-dist=300 target-bitrate=400000", "rtpvp9pay picture-id-mode=15-bit", "VP9"),
    "h264": (
        "openh264enc complexity=low gop-size=300 bitrate=400000 ! video/x-h264,profile=constrained-baseline",
        "rtph264pay config-interval=-1 aggregate-mode=zero-latency",
        "H264",
    ),
}


class Peer:
    def __init__(self, role, url, token, codec):
        self.report = Report()
        self.resource = Resource(url, token)
        self.loop = GLib.MainLoop()
        self.failure = None
        encoder, payloader, name = CODECS[codec]
        self.pipeline = Gst.Pipeline()
        self.webrtc = Gst.ElementFactory.make("webrtcbin")
        self.webrtc.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
        self.pipeline.add(self.webrtc)
        video = f"application/x-rtp,media=video,encoding-name={name},payload=96,clock-rate=90000"
        if codec == "h264":
            # Without a profile an offer says none, which stands for plain Baseline (RFC 6184 section 8.1).
            video += ",packetization-mode=(string)1,profile-level-id=(string)42e01f"
        audio = "application/x-rtp,media=audio,encoding-name=OPUS,payload=97,clock-rate=48000,encoding-params=(string)2"
        if role == "publish":
            self.publish("audio", f"audiotestsrc is-live=true ! audioconvert ! opusenc ! rtpopuspay ! capsfilter caps=\"{audio}\"")
            self.publish(
                "video",
                "videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=30/1 "
                f"! videoconvert ! {encoder} ! {payloader} ! capsfilter caps=\"{video}\"",
            )
        else:
            for caps in (audio, video):
                self.webrtc.emit(
                    "add-transceiver", GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY, Gst.Caps.from_string(caps)
                )
            self.webrtc.connect("pad-added", self.on_pad)
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message::error", self.on_error)
        self.webrtc.connect("notify::connection-state", self.on_state)
        self.webrtc.connect("notify::ice-gathering-state", self.on_gathering)
        self.webrtc.connect("on-negotiation-needed", self.on_negotiation_needed)
        self.is_offered = False

    def publish(self, kind, description):
        source = Gst.parse_bin_from_description(description, True)
        self.pipeline.add(source)
        source.link(self.webrtc)
        iterator = source.iterate_recurse()
        while (step := iterator.next())[0] == Gst.IteratorResult.OK:
            if "enc" in step[1].get_factory().get_name():
                self.count(kind, step[1].get_static_pad("src"))
        for transceiver in self.transceivers():
            transceiver.set_property("direction", GstWebRTC.WebRTCRTPTransceiverDirection.SENDONLY)

    def transceivers(self):
        found = []
        while (transceiver := self.webrtc.emit("get-transceiver", len(found))) is not None:
            found.append(transceiver)
        return found

    def count(self, kind, pad):
        def add(_pad, _info):
            self.report.counts[kind] += 1
            return Gst.PadProbeReturn.OK

        pad.add_probe(Gst.PadProbeType.BUFFER, add)

    def on_pad(self, _webrtc, pad):
        if pad.get_direction() != Gst.PadDirection.SRC:
            return
        decoder = Gst.ElementFactory.make("decodebin")
        self.pipeline.add(decoder)
        decoder.connect("pad-added", self.on_decoded)
        decoder.sync_state_with_parent()
        pad.link(decoder.get_static_pad("sink"))

    def on_decoded(self, _decoder, pad):
        kind = pad.get_current_caps().get_structure(0).get_name().split("/")[0]
        sink = Gst.ElementFactory.make("fakesink")
        self.pipeline.add(sink)
        sink.sync_state_with_parent()
        pad.link(sink.get_static_pad("sink"))
        self.count(kind, pad)

    def on_negotiation_needed(self, _webrtc):
        self.webrtc.emit("create-offer", None, Gst.Promise.new_with_change_func(self.on_offer))

    def on_offer(self, promise):
        # The offer lies in the reply, which must live as long.
        reply = promise.get_reply()
        offer = reply.get_value("offer")
        self.webrtc.emit("set-local-description", offer, Gst.Promise.new())

    def on_gathering(self, _webrtc, _property):
        state = self.webrtc.get_property("ice-gathering-state")
        if state == GstWebRTC.WebRTCICEGatheringState.COMPLETE and not self.is_offered:
            self.is_offered = True
            GLib.idle_add(self.signal)

    def signal(self):
        try:
            offer = self.webrtc.get_property("local-description")
            answer = self.resource.offer(offer.sdp.as_text())
            _result, message = GstSdp.SDPMessage.new_from_text(answer)
            description = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, message)
            self.webrtc.emit("set-remote-description", description, Gst.Promise.new())
        except Exception as error:  # noqa: BLE001 - whatever it is, the test must hear of it
            self.fail(error)
        return False

    def on_state(self, _webrtc, _property):
        state = self.webrtc.get_property("connection-state")
        self.report.connected = state == GstWebRTC.WebRTCPeerConnectionState.CONNECTED

    def on_error(self, _bus, message):
        self.fail(message.parse_error())

    def fail(self, error):
        self.failure = error
        self.loop.quit()

    def run(self):
        def write():
            self.report.write()
            return True

        GLib.timeout_add(200, write)
        when_input_ends(lambda: GLib.idle_add(self.loop.quit))
        self.pipeline.set_state(Gst.State.PLAYING)
        self.loop.run()
        self.resource.leave()
        self.pipeline.set_state(Gst.State.NULL)
        if self.failure is not None:
            sys.exit(f"{self.failure}")


Gst.init(None)
Peer(*sys.argv[1:]).run()
