import { vi } from 'vitest';

import type { CallSession } from '../../sdk';
import type { CallParticipant, CallTrack, Source } from '../../sdk';
import type { Environment } from '../../sdk/environment';
import { fakeWorld } from './fakes';

export type Json = Record<string, unknown>;

/** A WebSocket whose server is the test. */
export class FakeSocket extends EventTarget {
  readonly OPEN = 1;
  readyState = 0;
  readonly sent: Json[] = [];
  readonly url: string;
  /** With what the client closed it. */
  closedWith: number | undefined;

  constructor(url: string) {
    super();
    this.url = url;
  }

  send(text: string): void {
    this.sent.push(JSON.parse(text) as Json);
  }

  close(code: number): void {
    this.closedWith ??= code;
    if (this.readyState !== 3) this.drop(code);
  }

  /** The handshake succeeds. */
  accept(): void {
    this.readyState = 1;
    this.dispatchEvent(new Event('open'));
  }

  say(message: Json): void {
    this.dispatchEvent(new MessageEvent('message', { data: JSON.stringify(message) }));
  }

  /** It ends from the far end, or for want of a network. */
  drop(code = 1006, reason = ''): void {
    this.readyState = 3;
    this.dispatchEvent(Object.assign(new Event('close'), { code, reason }));
  }

  /** The last message of a type that the client sent. */
  last(type: string): Json {
    const found = this.sent.filter((message) => message['type'] === type).at(-1);
    if (found === undefined) throw new Error(`the client did not send ${type}`);
    return found;
  }

  count(type: string): number {
    return this.sent.filter((message) => message['type'] === type).length;
  }
}

class FakeTransceiver {
  mid: string | null = null;
  direction: RTCRtpTransceiverDirection;
  readonly encodings: RTCRtpEncodingParameters[];
  readonly sender: { track: unknown; replaceTrack: (track: unknown) => Promise<void> };
  readonly receiver: { track: { kind: string; id: string }; getSynchronizationSources: () => unknown[] };

  constructor(track: unknown, init: RTCRtpTransceiverInit) {
    this.direction = init.direction ?? 'sendrecv';
    this.encodings = init.sendEncodings ?? [];
    const sender = { track, replaceTrack: async (next: unknown): Promise<void> => void (sender.track = next) };
    this.sender = sender;
    this.receiver = { track: { kind: 'video', id: '' }, getSynchronizationSources: () => [] };
  }
}

/** An `RTCPeerConnection` that knows m-lines, and nothing of media. */
export class FakePeer extends EventTarget {
  connectionState: RTCPeerConnectionState = 'new';
  localDescription: { type: string; sdp: string } | null = null;
  readonly transceivers: FakeTransceiver[] = [];
  readonly offers: string[] = [];
  readonly remote: string[] = [];

  /** How its DTLS association fares. */
  dtls: RTCDtlsTransportState = 'connected';

  turn(state: RTCPeerConnectionState): void {
    this.connectionState = state;
    this.dispatchEvent(new Event('connectionstatechange'));
  }

  getSenders(): { transport: { state: RTCDtlsTransportState } }[] {
    return [{ transport: { state: this.dtls } }];
  }

  addTransceiver(trackOrKind: unknown, init: RTCRtpTransceiverInit): FakeTransceiver {
    const transceiver = new FakeTransceiver(typeof trackOrKind === 'string' ? null : trackOrKind, init);
    this.transceivers.push(transceiver);
    return transceiver;
  }

  async createOffer({ iceRestart = false } = {}): Promise<{ type: string; sdp: string }> {
    const lines = this.transceivers.map(({ direction }, index) => `${index}=${direction}`).join(' ');
    return { type: 'offer', sdp: `${iceRestart ? 'restart ' : ''}${lines}` };
  }

  async createAnswer(): Promise<{ type: string; sdp: string }> {
    return { type: 'answer', sdp: `answer to ${this.remote.at(-1)}` };
  }

  async setLocalDescription(description: { type: string; sdp: string }): Promise<void> {
    this.localDescription = description;
    if (description.type === 'offer') this.offers.push(description.sdp);
    this.transceivers.forEach((transceiver, index) => (transceiver.mid ??= String(index)));
  }

  /** An offer of the fake server is a list of mids. */
  async setRemoteDescription({ type, sdp }: { type: string; sdp: string }): Promise<void> {
    if (this.connectionState === 'closed') throw new DOMException('closed', 'InvalidStateError');
    this.remote.push(sdp);
    if (type !== 'offer') return;
    for (const mid of sdp.split(' ').filter((name) => !this.transceivers.some((known) => known.mid === name))) {
      const transceiver = this.addTransceiver('video', { direction: 'recvonly' });
      transceiver.mid = mid;
      transceiver.receiver.track.id = `media ${mid}`;
    }
  }

  getTransceivers(): unknown[] {
    return this.transceivers;
  }

  getReceivers(): unknown[] {
    return this.transceivers.map(({ receiver }) => receiver);
  }

  async getStats(): Promise<Map<string, Json>> {
    return new Map();
  }

  close(): void {
    this.connectionState = 'closed';
  }
}

/** A world in which every WebSocket and every connection is the test's. */
export function callWorld() {
  vi.stubGlobal('MediaStream', class {});
  const { environment, server, comeOnline } = fakeWorld();
  const sockets: FakeSocket[] = [];
  const peers: FakePeer[] = [];
  const changes = new Set<() => void>();
  const world: Environment = {
    ...environment,
    openSocket: (url) => {
      const socket = new FakeSocket(url);
      sockets.push(socket);
      return socket as unknown as WebSocket;
    },
    createConnection: () => {
      const peer = new FakePeer();
      peers.push(peer);
      return peer as unknown as RTCPeerConnection;
    },
    onNetworkChange: (listener) => {
      changes.add(listener);
      return () => changes.delete(listener);
    },
  };
  const socket = (): FakeSocket => {
    const found = sockets.at(-1);
    if (found === undefined) throw new Error('no WebSocket was opened');
    return found;
  };
  return { environment: world, server, comeOnline, sockets, socket, peers, changeNetwork: () => changes.forEach((tell) => tell()) };
}

export const settle = (): Promise<unknown> => vi.advanceTimersByTimeAsync(0);

export const WELCOME = {
  type: 'welcome',
  session_id: 'SE_1',
  identity: 'ann',
  resume_token: 'again',
  resume_within: 15,
  idle_timeout: 30,
  ice_servers: [],
};

export function participant(identity: string, changes: Partial<CallParticipant> = {}): CallParticipant {
  return {
    id: `PA_${identity}`,
    identity,
    name: identity,
    metadata: null,
    role: 'speaker',
    permissions: { can_publish: true },
    state: 'connected',
    joined_at: '2026-01-31T12:00:00.000Z',
    tracks: [],
    ...changes,
  };
}

export function track(id: string, source: Source = 'camera'): CallTrack {
  const kind = source === 'camera' || source === 'screen_share' ? 'video' : 'audio';
  return { id, kind, source, muted: false, muted_by_host: false };
}

export function joined(room_id: string, others: CallParticipant[] = [], me = participant('ann')): Json {
  const room = { name: `The ${room_id}`, metadata: null, locked: false, pin_required: false, state: 'created' };
  return { type: 'room_joined', room_id, room, participant: me, participants: others };
}

/** A camera or a microphone. */
export function device(kind: 'audio' | 'video' = 'video'): MediaStreamTrack {
  return { kind, getSettings: () => ({ width: 1280, height: 720 }) } as unknown as MediaStreamTrack;
}

/** Opens the session's WebSocket and lets it into a room. */
export async function letIn(call: CallSession, socket: () => FakeSocket, room: Json = joined('red')): Promise<void> {
  if (call.state.name === 'idle') call.start('red');
  await settle();
  socket().accept();
  await settle();
  socket().say({ ...WELCOME, seq: 1 });
  socket().say({ ...room, seq: 2 });
  await settle();
}
