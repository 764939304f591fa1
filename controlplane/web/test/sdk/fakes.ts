import type { Environment } from '../../sdk/environment';

/** An answer that a {@link FakeServer} gives: a response, or no answer at all. */
export type Reply = Response | Promise<Response> | 'unreachable';

export interface Seen {
  method: string;
  url: string;
  headers: Record<string, string>;
  body: string;
  keepalive: boolean;
}

/** Answers requests from a list, by method; fails the test when the list is empty. */
export class FakeServer {
  readonly seen: Seen[] = [];
  readonly #replies = new Map<string, Reply[]>();

  /** What the next requests with this method get, in this order. */
  will(method: string, ...replies: Reply[]): void {
    this.#replies.set(method, [...(this.#replies.get(method) ?? []), ...replies]);
  }

  count(method: string): number {
    return this.seen.filter((request) => request.method === method).length;
  }

  readonly fetch = async (url: string, init: RequestInit): Promise<Response> => {
    const method = init.method ?? 'GET';
    this.seen.push({
      method,
      url,
      headers: init.headers as Record<string, string>,
      body: String(init.body ?? ''),
      keepalive: init.keepalive === true,
    });
    const reply = method === 'DELETE' ? new Response(null, { status: 200 }) : this.#replies.get(method)?.shift();
    if (reply === undefined) throw new Error(`nobody said what to answer to ${method}`);
    if (reply === 'unreachable') throw new TypeError('Failed to fetch');
    return reply;
  };
}

/** A 201 as Sluice gives it. */
export function created(headers: Record<string, string> = {}): Response {
  return new Response(ANSWER, {
    status: 201,
    headers: { 'content-type': 'application/sdp', location: '/whip/room/session', etag: '"1"', ...headers },
  });
}

/** A 200 to an ICE restart. */
export function restarted(): Response {
  return new Response('a=ice-ufrag:newserver\r\na=ice-pwd:newserverpassword1234567\r\n', { status: 200 });
}

export function problem(status: number, code = '', headers: Record<string, string> = {}): Response {
  return new Response(JSON.stringify({ type: 'about:blank', title: 'A title', status, detail: 'A detail.', code }), {
    status,
    headers: { 'content-type': 'application/problem+json', ...headers },
  });
}

export const ANSWER = [
  'v=0',
  'a=group:BUNDLE 0 1',
  'm=audio 9 UDP/TLS/RTP/SAVPF 111',
  'a=mid:0',
  'a=ice-ufrag:server',
  'a=ice-pwd:serverpassword123456789',
  'a=candidate:1 1 udp 2130706431 192.0.2.1 3478 typ host',
  'a=end-of-candidates',
  'm=video 9 UDP/TLS/RTP/SAVPF 96',
  'a=mid:1',
  'a=ice-ufrag:server',
  'a=ice-pwd:serverpassword123456789',
  '',
].join('\r\n');

class FakeSender {
  transport: { state: string } | null = { state: 'connected' };
  constructor(public track: MediaStreamTrack | null) {}
  async replaceTrack(track: MediaStreamTrack | null): Promise<void> {
    this.track = track;
  }
}

/** An `RTCPeerConnection` whose states a test turns by hand. */
export class FakeConnection extends EventTarget {
  connectionState: RTCPeerConnectionState = 'new';
  readonly senders: FakeSender[] = [];
  readonly log: string[] = [];
  readonly remoteDescriptions: string[] = [];
  configuration: RTCConfiguration;
  stats = new Map<string, Record<string, unknown>>();
  #offers = 0;

  constructor(configuration: RTCConfiguration) {
    super();
    this.configuration = configuration;
  }

  turn(state: RTCPeerConnectionState): void {
    this.connectionState = state;
    this.dispatchEvent(new Event('connectionstatechange'));
  }

  addTransceiver(trackOrKind: MediaStreamTrack | string, init: RTCRtpTransceiverInit): unknown {
    const sender = new FakeSender(typeof trackOrKind === 'string' ? null : trackOrKind);
    this.senders.push(sender);
    this.log.push(`addTransceiver ${init.direction}`);
    return { sender, receiver: { track: { kind: trackOrKind } } };
  }

  async createOffer(options?: RTCOfferOptions): Promise<{ type: 'offer'; sdp: string }> {
    this.log.push(options?.iceRestart === true ? 'createOffer iceRestart' : 'createOffer');
    this.#offers += 1;
    const sdp = `v=0\r\na=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:c${this.#offers}\r\na=ice-pwd:clientpassword${this.#offers}\r\na=mid:0\r\n`;
    return { type: 'offer', sdp };
  }

  async setLocalDescription(): Promise<void> {
    this.log.push('setLocalDescription');
  }

  async setRemoteDescription(description: { sdp: string }): Promise<void> {
    this.log.push('setRemoteDescription');
    this.remoteDescriptions.push(description.sdp);
  }

  getConfiguration(): RTCConfiguration {
    return this.configuration;
  }

  setConfiguration(configuration: RTCConfiguration): void {
    this.log.push('setConfiguration');
    this.configuration = configuration;
  }

  getSenders(): unknown[] {
    return this.senders;
  }

  getReceivers(): unknown[] {
    return [];
  }

  async getStats(): Promise<Map<string, Record<string, unknown>>> {
    return this.stats;
  }

  close(): void {
    this.log.push('close');
    this.connectionState = 'closed';
  }
}

/** A world with a fake server, and every connection that was made in it. */
export function fakeWorld(): {
  environment: Environment;
  server: FakeServer;
  connections: FakeConnection[];
  last: () => FakeConnection;
  comeOnline: () => void;
} {
  const server = new FakeServer();
  const connections: FakeConnection[] = [];
  const online = new Set<() => void>();
  return {
    server,
    connections,
    last: () => {
      const connection = connections.at(-1);
      if (connection === undefined) throw new Error('no connection was made');
      return connection;
    },
    comeOnline: () => [...online].forEach((listener) => listener()),
    environment: {
      fetch: server.fetch,
      createConnection: (configuration) => {
        const connection = new FakeConnection(configuration);
        connections.push(connection);
        return connection as unknown as RTCPeerConnection;
      },
      random: () => 0,
      openSocket: () => {
        throw new Error('nobody said that there are WebSockets');
      },
      onNetworkChange: () => () => undefined,
      onOnline: (listener) => {
        online.add(listener);
        return () => online.delete(listener);
      },
      withStreamPlace: async (work) => {
        await work();
        return true;
      },
    },
  };
}
