// The peer connections of a call in a page of the server, and nothing of its signalling: whoever drives it carries descriptions
// to and fro. It is evaluated in a page, then `await call.offer()`, `call.accept(sdp)`, `await call.answer(sdp)`.
globalThis.call = {
  // Makes a connection; one that was made before goes on, and nothing is heard of it any more.
  async offer() {
    const media = await navigator.mediaDevices.getUserMedia({ video: { width: 320, height: 240 } });
    this.publisher = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
    const sendEncodings = [{ rid: 'low', scaleResolutionDownBy: 2 }, { rid: 'high' }];
    for (const track of media.getTracks()) this.publisher.addTransceiver(track, { direction: 'sendonly', sendEncodings });
    await this.publisher.setLocalDescription();
    return this.publisher.localDescription.sdp;
  },

  // Offers to stop sending over the m-lines that there are, or to begin again.
  async turn(direction) {
    for (const transceiver of this.publisher.getTransceivers()) transceiver.direction = direction;
    await this.publisher.setLocalDescription();
    return this.publisher.localDescription.sdp;
  },

  // Gives up what receives; the next offer is answered by another connection.
  renew() {
    this.subscriber = undefined;
  },

  accept(sdp) {
    return this.publisher.setRemoteDescription({ type: 'answer', sdp });
  },

  async answer(sdp) {
    if (this.subscriber === undefined) {
      const stream = new MediaStream();
      this.subscriber = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
      this.subscriber.ontrack = ({ track }) => stream.addTrack(track);
      const video = document.createElement('video');
      document.body.replaceChildren(video);
      video.srcObject = stream;
      video.play();
    }
    await this.subscriber.setRemoteDescription({ type: 'offer', sdp });
    await this.subscriber.setLocalDescription();
    return this.subscriber.localDescription.sdp;
  },
};
