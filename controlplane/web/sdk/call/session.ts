import { browserEnvironment, type Environment } from '../environment';
import { Emitter, type Listener } from '../events';
import { SluiceError, toSluiceError } from '../failure';
import type { QualitySample } from '../quality';
import { insteadOf, TOKEN_EXPIRED, type TokenRequest } from '../token';
import { RoomHost } from './host';
import type { CallParticipant, ClientRequest, RoomJoined, Said, ServerMessage, Source } from './protocol';
import { PublisherConnection } from './publisher';
import { Renewals, type Expiring } from './renewals';
import { Rooms, type CallRoom } from './rooms';
import { Signalling, type CallTokenSource } from './signalling';
import { levelOfReceiver, Speaking, type Voice } from './speaking';
import type { CallEnd, CallState } from './state';
import { SubscriberConnection } from './subscriber';
import { Tiles, type TileSize } from './tiles';
import { TrackQuality, type Measured } from './track-quality';
import type { Health } from './vigil';

export interface CallOptions {
  /** Where the server is; the page's own origin when empty. */
  server?: string;
  token: CallTokenSource;
  environment?: Environment;
}

export interface CallEvents {
  state: CallState;
  /** The rooms, with who is in them and what they publish. */
  rooms: readonly CallRoom[];
  /** The media of each track that arrives, by the track's id. */
  tracks: ReadonlyMap<string, MediaStreamTrack>;
  /** What is sent has changed. */
  sending: void;
  /** About one a second, by the track's id; one's own tracks too. */
  quality: ReadonlyMap<string, QualitySample>;
  /** The tracks of those who speak. */
  speaking: ReadonlySet<string>;
  /** Whether picture and sound get through, while signalling does. */
  media: 'flowing' | 'interrupted';
  /** Somebody entered. */
  came: { roomId: string; participant: CallParticipant };
  /** Somebody left, and why. */
  went: { roomId: string; participant: CallParticipant; reason: string };
  /** A host muted a track of ours, which only a host can undo, or took that back. */
  muted: { roomId: string; source: Source; muted: boolean };
  /**
   * We are in a room no more; `movedTo` names the room that we are in instead,
   * and `token` is one for that room, where the server gave one: for a page
   * that is loaded anew, as the session itself uses it already.
   */
  left: { roomId: string; reason: string; movedTo?: string; token?: string };
  /** Our stay in a room ends soon with its token, and no newer one could be had so far. */
  expiring: Expiring;
  /** The server does not let us publish this. */
  refused: { source: Source; failure: SluiceError };
}

/** What we have to send of a source. */
interface Own {
  track: MediaStreamTrack | null;
  muted: boolean;
}

/** Reasons of the server for which going back in is what everybody wants. */
const COMES_BACK: ReadonlySet<string> = new Set(['connection_lost', 'interrupted']);

const ENDS: Readonly<Record<string, CallEnd>> = {
  removed: 'removed',
  replaced: 'replaced',
  room_closed: 'room_closed',
};

/**
 * A call: one session in one room or several, which sends what it is given
 * and receives what the others send, and comes back by itself when the
 * network, the server or one of its parts went away.
 */
export class CallSession {
  readonly #events = new Emitter<CallEvents>();
  readonly #source: CallTokenSource;
  /** Tokens that came with a move, for the rooms that we are in by them. */
  readonly #given = new Map<string, string>();
  readonly #signalling: Signalling;
  readonly #publisher: PublisherConnection;
  readonly #subscriber: SubscriberConnection;
  readonly #tiles: Tiles;
  readonly #renewals: Renewals;
  readonly #rooms = new Rooms();
  /** The rooms to be in, with whether to receive what is published there. */
  readonly #wanted = new Map<string, boolean>();
  /** The rooms that this session, as the server knows it, has entered. */
  readonly #entered = new Set<string>();
  readonly #own = new Map<Source, Own>();
  /** What is kept from a room, as `room source`. */
  readonly #withheld = new Set<string>();
  readonly #health = new Map<'publisher' | 'subscriber', Health>();
  readonly #environment: Environment;
  #instruments: { stop: () => void }[] = [];

  constructor(options: CallOptions) {
    const { server = '', token, environment = browserEnvironment() } = options;
    this.#source = token;
    this.#environment = environment;
    this.#signalling = new Signalling({
      server,
      token: (request) => this.#token(request),
      environment,
      firstRoom: () => {
        const [first] = this.#wanted;
        return first && { roomId: first[0], autoSubscribe: first[1] };
      },
    });
    const request = (message: ClientRequest, signal?: AbortSignal): Promise<ServerMessage> =>
      this.#signalling.request(message, signal);
    const iceServers = (): RTCIceServer[] => iceServersOf(this.#signalling.welcome?.ice_servers ?? []);
    this.#tiles = new Tiles(request);
    this.#renewals = new Renewals({
      random: environment.random,
      renew: (roomId) => this.#renew(roomId),
      onExpiring: (expiring) => this.#events.emit('expiring', expiring),
    });
    this.#publisher = new PublisherConnection({
      environment,
      iceServers,
      request,
      onHealth: (health) => this.#onHealth('publisher', health),
      onChange: () => this.#events.emit('sending', undefined),
      onRefused: (source, failure) => this.#events.emit('refused', { source, failure }),
    });
    this.#subscriber = new SubscriberConnection({
      environment,
      iceServers,
      request,
      onHealth: (health) => this.#onHealth('subscriber', health),
      onTracks: () => this.#events.emit('tracks', this.#subscriber.tracks),
    });
    this.#signalling.on('state', (state) => this.#onState(state));
    this.#signalling.on('opened', () => this.#onOpened());
    this.#signalling.on('message', (message) => this.#onMessage(message));
  }

  on<Name extends keyof CallEvents>(name: Name, listener: Listener<CallEvents[Name]>): () => void {
    return this.#events.on(name, listener);
  }

  get state(): CallState {
    return this.#signalling.state;
  }

  get rooms(): readonly CallRoom[] {
    return this.#rooms.all;
  }

  /** The media of each track that arrives, by the track's id. */
  get tracks(): ReadonlyMap<string, MediaStreamTrack> {
    return this.#subscriber.tracks;
  }

  /** Who the session is, once the server has said so. */
  get identity(): string | undefined {
    return this.#signalling.welcome?.identity;
  }

  /** The id of the track of ours that is published from a source. */
  trackIdOf(source: Source): string | undefined {
    return this.#publisher.trackIdOf(source);
  }

  /** Enters a room, and stays in it. Reports by events, never throws. */
  start(roomId: string, options: { autoSubscribe?: boolean } = {}): void {
    this.#wanted.set(roomId, options.autoSubscribe ?? true);
    this.#signalling.start();
  }

  /** Enters a further room. Fails with {@link SluiceError} when that is refused. */
  async enter(roomId: string, options: { autoSubscribe?: boolean } = {}): Promise<void> {
    this.#wanted.set(roomId, options.autoSubscribe ?? true);
    try {
      await this.#join(roomId);
    } catch (thrown) {
      if (!this.#entered.has(roomId)) this.#wanted.delete(roomId);
      throw thrown;
    }
  }

  /** Leaves a room; the last one ends the call. */
  leave(roomId: string): void {
    this.#wanted.delete(roomId);
    if (this.#wanted.size === 0) {
      this.close();
      return;
    }
    void this.#signalling.request({ type: 'leave_room', room_id: roomId }).catch(() => undefined);
    this.#gone(roomId, 'left');
  }

  /** Leaves all rooms and tells the server. Safe while the page goes away. */
  close(): void {
    this.#end({ name: 'ended', because: 'left' });
  }

  /** Sends a track from now on, in all rooms that it is not kept from; nothing while its device is off. */
  publish(source: Source, track: MediaStreamTrack | null, muted = false): void {
    this.#own.set(source, { track, muted });
    this.#wish(source);
  }

  /** Sends a source no more. */
  unpublish(source: Source): void {
    this.#own.delete(source);
    this.#wish(source);
  }

  setMuted(source: Source, muted: boolean): void {
    const own = this.#own.get(source);
    if (own === undefined || own.muted === muted) return;
    this.#own.set(source, { ...own, muted });
    this.#wish(source);
  }

  /** Keeps a source from one of the rooms, or lets it go there again. */
  share(roomId: string, source: Source, isShared: boolean): void {
    if (isShared) this.#withheld.delete(`${roomId} ${source}`);
    else this.#withheld.add(`${roomId} ${source}`);
    this.#wish(source);
  }

  isShared(roomId: string, source: Source): boolean {
    return !this.#withheld.has(`${roomId} ${source}`);
  }

  /** Says how large a track of a room is shown, in pixels of the screen; nothing while it is not seen. */
  show(roomId: string, trackId: string, size: TileSize): void {
    this.#tiles.show(roomId, trackId, size);
  }

  /** Changes the own name in a room. */
  async rename(roomId: string, name: string): Promise<void> {
    await this.#signalling.request({ type: 'update_metadata', room_id: roomId, name });
  }

  /** What a host may do in a room. */
  host(roomId: string): RoomHost {
    return new RoomHost(roomId, (request) => this.#signalling.request(request));
  }

  /** A token: the one that came with a move while that does, else one of the source. */
  async #token(request: TokenRequest & { roomId: string }): Promise<string | undefined> {
    const given = this.#given.get(request.roomId);
    if (given !== undefined && !request.renew) return given;
    const token = await this.#source(request);
    this.#given.delete(request.roomId);
    return token;
  }

  async #join(roomId: string, asking: TokenRequest = { renew: false }): Promise<void> {
    const token = await this.#token({ roomId, ...asking });
    const auto_subscribe = this.#wanted.get(roomId) ?? true;
    try {
      await this.#signalling.request({ type: 'join_room', room_id: roomId, token: token ?? null, auto_subscribe });
    } catch (thrown) {
      const refusal = toSluiceError(thrown);
      if (asking.renew || refusal.reason !== 'unauthorized') throw thrown;
      await this.#join(roomId, insteadOf(refusal));
    }
  }

  /** Shows the server a newer token for a room; what it answers says until when that is good. */
  async #renew(roomId: string): Promise<void> {
    const token = await this.#token({ roomId, renew: true, cause: 'expiring' });
    if (token !== undefined) await this.#signalling.request({ type: 'renew_token', token });
  }

  /** Enters a room again that the session lost; without it when that is refused. */
  #rejoin(roomId: string, asking?: TokenRequest): void {
    this.#join(roomId, asking).catch((thrown: unknown) => {
      const failure = toSluiceError(thrown);
      // The next session enters it.
      if (failure.code === 'session_over') return;
      this.#wanted.delete(roomId);
      this.#rooms.apply({ type: 'room_left', room_id: roomId });
      if (failure.code === TOKEN_EXPIRED) this.#gone(roomId, TOKEN_EXPIRED);
      else this.#gone(roomId, failure.reason === 'not_found' ? 'room_closed' : 'removed');
    });
  }

  #onOpened(): void {
    this.#entered.clear();
    this.#renewals.clear();
    this.#publisher.close();
    this.#subscriber.close();
  }

  #onMessage(message: ServerMessage): void {
    const before = this.#rooms.all;
    const isChanged = this.#rooms.apply(message);
    this.#subscriber.handleMessage(message);
    this.#publisher.handleMessage(message);
    if (isChanged) this.#events.emit('rooms', this.#rooms.all);
    this.#tellOf(message, before);
    switch (message.type) {
      case 'room_joined':
        this.#onJoined(message);
        break;
      case 'resumed':
        if (!message.complete) this.#onRestored(message.rooms ?? []);
        break;
      case 'token_renewed':
        for (const { room_id, expires_in } of message.rooms) this.#renewals.expect(room_id, expires_in);
        break;
      case 'removed':
        this.#onRemoved(message.room_id, message.reason);
        break;
      case 'moved':
        // The server keeps what one wants to receive, so that entering anew asks for the same.
        this.#wanted.set(message.to_room_id, this.#wanted.get(message.room_id) ?? true);
        this.#wanted.delete(message.room_id);
        this.#entered.delete(message.room_id);
        this.#renewals.forget(message.room_id);
        this.#onMoved(message);
        break;
      case 'track_subscribed':
        this.#tiles.repeatOne(message.track_id);
        break;
    }
    // Who was moved is in the next room with what it sends; `room_joined` follows.
    if (!isChanged || message.type === 'moved') return;
    this.#wishAll();
    this.#tiles.keep((roomId, trackId) => hasTrack(this.#rooms.find(roomId), trackId));
  }

  #onJoined({ room_id, expires_in }: RoomJoined): void {
    const isFirst = this.#entered.size === 0;
    this.#entered.add(room_id);
    this.#renewals.expect(room_id, expires_in);
    this.#tiles.repeat();
    if (!isFirst) return;
    for (const roomId of this.#wanted.keys()) if (roomId !== room_id) this.#rejoin(roomId);
  }

  #onMoved({ room_id: roomId, to_room_id: movedTo, token }: Said<'moved'>): void {
    this.#given.delete(roomId);
    if (token != null) this.#given.set(movedTo, token);
    this.#events.emit('left', { roomId, reason: 'moved', movedTo, ...(token != null && { token }) });
  }

  /** Messages were missed: the rooms are those that the server names. */
  #onRestored(rooms: readonly RoomJoined[]): void {
    this.#entered.clear();
    this.#renewals.clear();
    for (const { room_id, expires_in } of rooms) {
      this.#entered.add(room_id);
      this.#renewals.expect(room_id, expires_in);
    }
    this.#tiles.repeat();
    for (const roomId of this.#wanted.keys()) if (!this.#entered.has(roomId)) this.#rejoin(roomId);
  }

  #onRemoved(roomId: string, reason: string): void {
    this.#entered.delete(roomId);
    this.#renewals.forget(roomId);
    if (reason === TOKEN_EXPIRED && this.#wanted.has(roomId)) {
      // With the last stay the session ends, and the next one asks for another token.
      if (this.#entered.size > 0) this.#rejoin(roomId, { renew: true, cause: 'expired' });
      return;
    }
    if (COMES_BACK.has(reason) && this.#wanted.has(roomId)) {
      this.#rejoin(roomId);
      return;
    }
    this.#wanted.delete(roomId);
    this.#gone(roomId, reason);
  }

  /** We are in a room no more. */
  #gone(roomId: string, reason: string): void {
    this.#entered.delete(roomId);
    this.#given.delete(roomId);
    this.#renewals.forget(roomId);
    this.#events.emit('rooms', this.#rooms.all);
    this.#events.emit('left', { roomId, reason });
    if (this.#wanted.size === 0) this.#end({ name: 'ended', because: ENDS[reason] ?? 'left' });
    else this.#wishAll();
  }

  /** News that people want to hear. */
  #tellOf(message: ServerMessage, before: readonly CallRoom[]): void {
    if (message.type === 'participant_joined') {
      const { room_id: roomId, participant } = message;
      const isKnown = before.find(({ id }) => id === roomId)?.others.some(({ id }) => id === participant.id) ?? true;
      if (!isKnown) this.#events.emit('came', { roomId, participant });
    } else if (message.type === 'participant_left') {
      const { room_id: roomId, participant_id, reason } = message;
      const known = before.find(({ id }) => id === roomId)?.others.find(({ id }) => id === participant_id);
      if (known !== undefined) this.#events.emit('went', { roomId, participant: known, reason });
    } else if (message.type === 'track_muted' && message.by_host) {
      const { room_id: roomId, track_id, muted_by_host: muted } = message;
      const source = this.#sourceOf(track_id);
      if (source !== undefined) this.#events.emit('muted', { roomId, source, muted });
    }
  }

  #sourceOf(trackId: string): Source | undefined {
    return [...this.#own.keys()].find((source) => this.#publisher.trackIdOf(source) === trackId);
  }

  #wishAll(): void {
    for (const source of this.#own.keys()) this.#wish(source);
  }

  /** Tells the publisher what is to be sent of a source: where we are, may publish it, and want to. */
  #wish(source: Source): void {
    const own = this.#own.get(source);
    const rooms = this.#rooms.all
      .filter((room) => this.#entered.has(room.id) && mayPublish(room.me, source) && this.isShared(room.id, source))
      .map(({ id }) => id);
    this.#publisher.wish(source, own && { ...own, rooms });
  }

  #onHealth(which: 'publisher' | 'subscriber', health: Health | undefined): void {
    // What was lost is back when another connection is up.
    if (health === 'connecting' && this.#health.get(which) === 'lost') return;
    const before = this.#isInterrupted();
    if (health === undefined) this.#health.delete(which);
    else this.#health.set(which, health);
    const after = this.#isInterrupted();
    if (before !== after) this.#events.emit('media', after ? 'interrupted' : 'flowing');
  }

  #isInterrupted(): boolean {
    return [...this.#health.values()].includes('lost');
  }

  #onState(state: CallState): void {
    const isOn = state.name === 'live' || state.name === 'reconnecting';
    if (isOn && this.#instruments.length === 0) this.#startInstruments();
    if (state.name === 'failed' || state.name === 'ended') this.#letGo();
    this.#events.emit('state', state);
  }

  #end(state: CallState): void {
    const leaving = [...this.#entered].map((room_id) => ({ type: 'leave_room', room_id }) as const);
    this.#signalling.close(state, state.name === 'ended' && state.because === 'left' ? leaving : []);
  }

  #letGo(): void {
    for (const instrument of this.#instruments.splice(0)) instrument.stop();
    this.#publisher.close();
    this.#subscriber.close();
    this.#tiles.close();
    this.#renewals.clear();
    this.#rooms.clear();
    this.#wanted.clear();
    this.#entered.clear();
    this.#withheld.clear();
    this.#events.emit('rooms', this.#rooms.all);
  }

  #startInstruments(): void {
    const stopListening = this.#environment.onNetworkChange(() => {
      this.#publisher.restartIce();
      this.#subscriber.restartIce();
    });
    this.#instruments = [
      { stop: stopListening },
      new TrackQuality(
        () => this.#measured(),
        (samples) => this.#events.emit('quality', samples),
      ),
      new Speaking(
        () => this.#voices(),
        (speaking) => this.#events.emit('speaking', speaking),
      ),
    ];
  }

  #measured(): Measured[] {
    const { connection: receiving, mids } = this.#subscriber;
    const { connection: sending } = this.#publisher;
    const own = new Map<string, string>();
    for (const source of this.#own.keys()) {
      const [trackId, mid] = [this.#publisher.trackIdOf(source), this.#publisher.midOf(source)];
      if (trackId !== undefined && mid !== undefined) own.set(trackId, mid);
    }
    return [
      ...(receiving === undefined ? [] : [{ direction: 'receive' as const, connection: receiving, mids }]),
      ...(sending === undefined ? [] : [{ direction: 'send' as const, connection: sending, mids: own }]),
    ];
  }

  #voices(): Voice[] {
    const receivers = this.#subscriber.connection?.getReceivers() ?? [];
    return [...this.#subscriber.tracks].flatMap(([trackId, track]) => {
      if (track.kind !== 'audio') return [];
      const receiver = receivers.find((candidate) => candidate.track === track);
      return receiver === undefined ? [] : [{ trackId, level: () => levelOfReceiver(receiver) }];
    });
  }
}

function hasTrack(room: CallRoom | undefined, trackId: string): boolean {
  return room?.others.some(({ tracks }) => tracks.some(({ id }) => id === trackId)) ?? false;
}

/** Whether somebody may publish a source. */
export function mayPublish({ permissions, role }: CallParticipant, source: Source): boolean {
  const may = permissions.can_publish ?? role !== 'attendee';
  return may && (permissions.can_publish_sources?.includes(source) ?? true);
}

function iceServersOf(
  servers: readonly { urls: string; username?: string | null; credential?: string | null }[],
): RTCIceServer[] {
  return servers.map(({ urls, username, credential }) => ({
    urls,
    ...(username != null && { username }),
    ...(credential != null && { credential }),
  }));
}
