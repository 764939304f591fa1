// Publishes or plays from a page with nothing but what the browser has: WHIP and WHEP in one request each.
// `page_peer.js` is evaluated in a page of the server, then `peer.publish(url, token, codec[, rids])` or `peer.play(url, token)`.
globalThis.peer = {
  // With names of encodings it offers a simulcast, each twice as wide as the one before.
  async publish(url, token, codec, rids = []) {
    const media = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 320, height: 240 } });
    const connection = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
    for (const track of media.getTracks()) {
      const scale = (place) => 2 ** (rids.length - 1 - place);
      const encodings = rids.map((rid, place) => ({ rid, scaleResolutionDownBy: scale(place) }));
      const sendEncodings = track.kind === 'video' && rids.length > 0 ? encodings : [{}];
      const transceiver = connection.addTransceiver(track, { direction: 'sendonly', sendEncodings });
      if (track.kind === 'video') transceiver.setCodecPreferences(this.preferred(codec));
    }
    await this.begin(connection, url, token);
  },

  async play(url, token) {
    const connection = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
    const stream = new MediaStream();
    connection.addTransceiver('audio', { direction: 'recvonly' });
    connection.addTransceiver('video', { direction: 'recvonly' });
    connection.ontrack = ({ track }) => stream.addTrack(track);
    const video = document.createElement('video');
    document.body.replaceChildren(video);
    video.srcObject = stream;
    video.play();
    await this.begin(connection, url, token);
  },

  // The codec under test alone, with what repairs it.
  preferred(codec) {
    const { codecs } = RTCRtpSender.getCapabilities('video');
    const wanted = codecs.filter(({ mimeType }) => mimeType.toLowerCase() === `video/${codec}`);
    if (wanted.length === 0) throw new Error(`this browser cannot encode ${codec}`);
    return [...wanted, ...codecs.filter(({ mimeType }) => /\/(rtx|red|ulpfec)$/i.test(mimeType))];
  },

  async begin(connection, url, token) {
    await connection.setLocalDescription();
    const response = await fetch(url, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/sdp' },
      body: connection.localDescription.sdp,
    });
    const body = await response.text();
    if (response.status !== 201) throw new Error(`${response.status}: ${body}`);
    this.session = new URL(response.headers.get('location'), url);
    this.token = token;
    await connection.setRemoteDescription({ type: 'answer', sdp: body });
  },

  async leave() {
    await fetch(this.session, { method: 'DELETE', headers: { authorization: `Bearer ${this.token}` } });
  },
};
