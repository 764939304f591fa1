// Publishes or plays with libdatachannel: `datachannel_peer.mjs publish|play URL TOKEN vp8|h264`.
// It moves RTP only; FFmpeg encodes and decodes. Prints a report a line: packets sent, or frames decoded. Leaves when
// its input ends.
import { spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import datachannel from 'node-datachannel';

const [role, url, token, codec] = process.argv.slice(2);
const VIDEO = { kind: 'video', payloadType: 96, ssrc: 0x51000001 };
const AUDIO = { kind: 'audio', payloadType: 97, ssrc: 0x51000002 };
const ENCODERS = {
  vp8: ['-c:v', 'libvpx', '-deadline', 'realtime', '-cpu-used', '8', '-b:v', '400k'],
  h264: ['-c:v', 'libx264', '-preset', 'ultrafast', '-tune', 'zerolatency', '-profile:v', 'baseline', '-b:v', '400k'],
};
const NAMES = { vp8: 'VP8/90000', h264: 'H264/90000' };
const H264_FORMAT = 'profile-level-id=42e01f;packetization-mode=1;level-asymmetry-allowed=1';

const report = { connected: false, video: 0, audio: 0 };
const children = [];
const sockets = [];
const folder = mkdtempSync(join(tmpdir(), 'sluice-datachannel-'));

function ffmpeg(parameters) {
  const child = spawn('ffmpeg', ['-hide_banner', '-loglevel', 'error', '-nostdin', ...parameters], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  return child;
}

/** A socket on a free port of loopback. */
async function socketOnLoopback() {
  const socket = createSocket('udp4');
  sockets.push(socket);
  await new Promise((resolve) => socket.bind(0, '127.0.0.1', resolve));
  return socket;
}

/** Encodes a test picture or tone, and gives each RTP packet to the track. */
async function encode({ kind, payloadType, ssrc }, track) {
  const socket = await socketOnLoopback();
  const source =
    kind === 'video'
      ? ['-f', 'lavfi', '-i', 'testsrc=size=320x240:rate=30', '-pix_fmt', 'yuv420p', ...ENCODERS[codec], '-g', '30']
      : ['-f', 'lavfi', '-i', 'sine=frequency=440:sample_rate=48000', '-ac', '2', '-c:a', 'libopus'];
  const rtp = ['-payload_type', String(payloadType), '-ssrc', String(ssrc), '-f', 'rtp'];
  // Its reports go to the next port, where nobody listens: a publisher without sender reports.
  ffmpeg(['-re', ...source, ...rtp, `rtp://127.0.0.1:${socket.address().port}?pkt_size=1200`]);
  socket.on('message', (packet) => {
    const isReport = packet[1] >= 192 && packet[1] <= 223;
    if (isReport || !track.isOpen()) return;
    if (track.sendMessageBinary(packet)) report[kind] += 1;
  });
}

/** Decodes the RTP packets that a track gives. */
async function decode({ kind, payloadType }, track) {
  const socket = await socketOnLoopback();
  const port = (await freePort()) & ~1;
  const name = kind === 'video' ? NAMES[codec] : 'opus/48000/2';
  const format = kind === 'video' && codec === 'h264' ? [`a=fmtp:${payloadType} packetization-mode=1`] : [];
  const description = [
    'v=0',
    'o=- 0 0 IN IP4 127.0.0.1',
    's=-',
    'c=IN IP4 127.0.0.1',
    't=0 0',
    `m=${kind} ${port} RTP/AVP ${payloadType}`,
    `a=rtpmap:${payloadType} ${name}`,
    ...format,
    '',
  ].join('\r\n');
  const file = join(folder, `${kind}.sdp`);
  writeFileSync(file, description);
  const input = ['-protocol_whitelist', 'file,udp,rtp', '-analyzeduration', '1M', '-i', file];
  const child = ffmpeg([...input, '-f', 'null', '-progress', 'pipe:1', '-stats_period', '0.2', '/dev/null']);
  child.stdout.setEncoding('utf8');
  child.stdout.on('data', (text) => {
    for (const [, key, value] of text.matchAll(/^(frame|out_time_us)=(\d+)$/gm)) {
      if (kind === 'video' && key === 'frame') report.video = Number(value);
      // Sound has no frames in its report: 20 ms each.
      if (kind === 'audio' && key === 'out_time_us') report.audio = Math.floor(Number(value) / 20_000);
    }
  });
  track.onMessage((packet) => {
    const isReport = packet[1] >= 192 && packet[1] <= 223;
    if (!isReport) socket.send(packet, port, '127.0.0.1');
  });
}

async function freePort() {
  const socket = createSocket('udp4');
  await new Promise((resolve) => socket.bind(0, '127.0.0.1', resolve));
  const { port } = socket.address();
  await new Promise((resolve) => socket.close(resolve));
  return port;
}

function addLine(connection, line) {
  const direction = role === 'publish' ? 'SendOnly' : 'RecvOnly';
  const Description = line.kind === 'video' ? datachannel.Video : datachannel.Audio;
  const description = new Description(line.kind, direction);
  if (line.kind === 'audio') description.addOpusCodec(line.payloadType);
  else if (codec === 'vp8') description.addVP8Codec(line.payloadType);
  else description.addH264Codec(line.payloadType, H264_FORMAT);
  if (role === 'publish') description.addSSRC(line.ssrc, 'foreign', 'foreign', line.kind);
  const track = connection.addTrack(description);
  if (role === 'play') track.setMediaHandler(new datachannel.RtcpReceivingSession());
  return track;
}

const connection = new datachannel.PeerConnection('peer', { iceServers: [], disableAutoNegotiation: true });
connection.onStateChange((state) => (report.connected = state === 'connected'));
const gathered = new Promise((resolve) => {
  connection.onGatheringStateChange((state) => state === 'complete' && resolve());
});
const lines = [AUDIO, VIDEO].map((line) => [line, addLine(connection, line)]);
for (const [line, track] of lines) await (role === 'publish' ? encode : decode)(line, track);
connection.setLocalDescription('offer');
await gathered;

const headers = { authorization: `Bearer ${token}` };
const offer = connection.localDescription().sdp;
const posted = await fetch(url, { method: 'POST', headers: { ...headers, 'content-type': 'application/sdp' }, body: offer });
if (posted.status !== 201) {
  console.error(`${posted.status}: ${await posted.text()}\nthe offer:\n${offer}`);
  await end(1);
}
connection.setRemoteDescription(await posted.text(), 'answer');

const ticker = setInterval(() => {
  console.log(JSON.stringify(report));
  // A decoder that has nothing yet missed the key frame that came before it listened.
  const [, video] = lines[1];
  if (role === 'play' && report.connected && report.video === 0) video.requestKeyframe();
}, 200);
process.stdin.resume();
process.stdin.on('end', async () => {
  clearInterval(ticker);
  await fetch(new URL(posted.headers.get('location'), url), { method: 'DELETE', headers });
  connection.close();
  await end(0);
});

async function end(code) {
  await Promise.all(
    children.map((child) => {
      const exited = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGKILL');
      return child.exitCode === null ? exited : undefined;
    }),
  );
  for (const socket of sockets) socket.close();
  rmSync(folder, { recursive: true, force: true });
  process.exit(code);
}
