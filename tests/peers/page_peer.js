// Publishes or plays from a page with nothing but what the browser has: WHIP and WHEP in one request each.
// `page_peer.js` is evaluated in a page of the server, then `peer.publish(url, token, codec[, rids[, mode]])` or
// `peer.play(url, token[, codec[, descriptors]])`; who plays takes any codec.
globalThis.peer = {
  // With names of encodings it offers a simulcast, each twice as wide as the one before; with a scalability mode the picture
  // is large enough for three layers.
  async publish(url, token, codec, rids = [], mode = undefined) {
    const video = mode === undefined ? { width: 320, height: 240 } : { width: 960, height: 540, frameRate: 15 };
    const media = await navigator.mediaDevices.getUserMedia({ audio: true, video });
    const connection = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
    for (const track of media.getTracks()) {
      const scale = (place) => 2 ** (rids.length - 1 - place);
      const encodings = rids.map((rid, place) => ({ rid, scaleResolutionDownBy: scale(place) }));
      const scalable = [mode === undefined ? {} : { scalabilityMode: mode }];
      const sendEncodings = track.kind !== 'video' ? [{}] : rids.length > 0 ? encodings : scalable;
      const transceiver = connection.addTransceiver(track, { direction: 'sendonly', sendEncodings });
      if (track.kind === 'video') transceiver.setCodecPreferences(this.preferred(codec));
    }
    await this.begin(connection, url, token);
  },

  // With `descriptors` it offers to take dependency descriptors, which Chromium does not do by itself.
  async play(url, token, _codec = undefined, descriptors = false) {
    const connection = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
    const stream = new MediaStream();
    connection.addTransceiver('audio', { direction: 'recvonly' });
    const pictures = connection.addTransceiver('video', { direction: 'recvonly' });
    if (descriptors) {
      const extensions = pictures.getHeaderExtensionsToNegotiate();
      extensions.find(({ uri }) => uri.includes('dependency-descriptor')).direction = 'sendrecv';
      pictures.setHeaderExtensionsToNegotiate(extensions);
    }
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
