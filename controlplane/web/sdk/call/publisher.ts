import { Backoff } from '../backoff';
import type { Environment } from '../environment';
import { SluiceError, toSluiceError } from '../failure';
import { PUBLISH_RENEWALS_MAX } from '../limits';
import { pause } from '../waiting';
import { kindOf } from './encodings';
import type { ClientRequest, RoomJoined, Said, ServerMessage, Source } from './protocol';
import { SESSION_OVER } from './requests';
import { Lines } from './sending';
import { Vigil, type Health } from './vigil';

/** What should be sent of a source. */
export interface Wish {
  /** Nothing while the device is off; the track stays published, and should be muted. */
  track: MediaStreamTrack | null;
  muted: boolean;
  /** The rooms to publish it in. */
  rooms: readonly string[];
}

/** What is sent of a source. */
interface Sent {
  trackId: string;
  muted: boolean;
  rooms: Set<string>;
}

export interface PublisherOptions {
  environment: Environment;
  iceServers: () => RTCIceServer[];
  request: (request: ClientRequest, signal?: AbortSignal) => Promise<ServerMessage>;
  onHealth: (health: Health | undefined) => void;
  /** What is sent is different now. */
  onChange: () => void;
  /** A source cannot be published, and is not tried again until what is wanted of it changes. */
  onRefused: (source: Source, failure: SluiceError) => void;
}

/**
 * The connection over which a session sends. It is told what should be sent,
 * compares that with what is sent, and asks the server for the difference; so
 * a lost connection or session needs nothing but another comparison.
 */
export class PublisherConnection {
  readonly #options: PublisherOptions;
  readonly #wishes = new Map<Source, Wish>();
  readonly #sent = new Map<Source, Sent>();
  readonly #refused = new Set<Source>();
  #connection: RTCPeerConnection | undefined;
  #connectionId: string | undefined;
  #lines: Lines | undefined;
  #vigil: Vigil | undefined;
  /** Ends what belongs to the connection in use. */
  #life = new AbortController();
  #lastOfferId = 0;
  #isDirty = false;
  #isBusy = false;
  #isIceStale = false;
  #isOfferDue = false;
  readonly #backoff: Backoff;
  /** Connections in a row over which nothing could be agreed on. */
  #renewals = 0;

  constructor(options: PublisherOptions) {
    this.#options = options;
    this.#backoff = new Backoff(options.environment.random);
  }

  /** The connection in use, for statistics. */
  get connection(): RTCPeerConnection | undefined {
    return this.#connection;
  }

  /** The m-line of a source that is published. */
  midOf(source: Source): string | undefined {
    return this.#lines?.midOf(source);
  }

  /** The id of the track of a source; nothing before it is published. */
  trackIdOf(source: Source): string | undefined {
    return this.#sent.get(source)?.trackId;
  }

  /** Says what should be sent of a source from now on; nothing to send it no more. */
  wish(source: Source, wish: Wish | undefined): void {
    const before = this.#wishes.get(source);
    if (wish === undefined) this.#wishes.delete(source);
    else this.#wishes.set(source, wish);
    if (before?.rooms.join() !== wish?.rooms.join() || before?.track !== wish?.track) this.#refused.delete(source);
    if (wish !== undefined && before?.track !== wish.track) void this.#lines?.replace(source, wish.track);
    this.#settle();
  }

  handleMessage(message: ServerMessage): void {
    switch (message.type) {
      case 'connection_closed':
        if (message.connection === 'publisher' && message.connection_id === this.#connectionId) this.renew();
        break;
      case 'resumed':
        this.#resumed(message);
        break;
      case 'track_unpublished':
        this.#forgetRoom(message.room_id, message.track_id);
        break;
      case 'removed':
      case 'room_left':
        this.#forgetRoom(message.room_id);
        break;
      case 'moved':
        for (const { rooms } of this.#sent.values()) if (rooms.delete(message.room_id)) rooms.add(message.to_room_id);
        break;
    }
  }

  /** Begins with new ICE credentials, as after the network changed. */
  restartIce(): void {
    if (this.#connection === undefined) return;
    this.#isIceStale = true;
    this.#settle();
  }

  /** Lets go of the connection, and publishes anew over another one. */
  renew(): void {
    this.close();
    this.#refused.clear();
    this.#settle();
  }

  /** Lets go of the connection. */
  close(): void {
    this.#letGo();
    this.#options.onHealth(undefined);
  }

  /** Publishes anew over another connection; until that is up, what is sent is lost. */
  #replace(): void {
    this.#letGo();
    this.#settle();
  }

  #letGo(): void {
    this.#life.abort();
    this.#life = new AbortController();
    this.#vigil?.stop();
    this.#connection?.close();
    this.#connection = undefined;
    this.#connectionId = undefined;
    this.#lines = undefined;
    this.#sent.clear();
    this.#isIceStale = false;
    this.#isOfferDue = false;
  }

  #resumed(message: Said<'resumed'>): void {
    const { publisher_connection_id: id = null, publisher_offer_id, complete, published, rooms } = message;
    this.#lastOfferId = Math.max(this.#lastOfferId, publisher_offer_id);
    if (this.#connectionId !== undefined && this.#connectionId !== id) {
      this.renew();
      return;
    }
    if (complete) return;
    for (const [source, sent] of [...this.#sent]) {
      const trackId = published?.find(({ mid }) => mid === this.midOf(source))?.track_id;
      if (trackId === undefined) this.#forget(source);
      else this.#sent.set(source, { ...sent, trackId, rooms: roomsOf(trackId, rooms ?? []) });
    }
    this.#settle();
  }

  #forgetRoom(roomId: string, trackId?: string): void {
    for (const sent of this.#sent.values()) {
      if (trackId === undefined || sent.trackId === trackId) sent.rooms.delete(roomId);
    }
    this.#settle();
  }

  #forget(source: Source): void {
    this.#sent.delete(source);
    void this.#lines?.release(source);
    this.#isOfferDue = true;
  }

  /** Makes what is sent what is wanted, one difference after the other. */
  #settle(): void {
    this.#isDirty = true;
    if (this.#isBusy) return;
    this.#isBusy = true;
    void this.#work().finally(() => {
      this.#isBusy = false;
      this.#options.onChange();
      if (this.#isDirty) this.#settle();
    });
  }

  async #work(): Promise<void> {
    while (this.#isDirty) {
      this.#isDirty = false;
      const life = this.#life.signal;
      try {
        await this.#withdraw();
        await this.#negotiate();
        await this.#adjust();
      } catch (thrown) {
        const failure = toSluiceError(thrown);
        // Another connection or session begins with what is wanted then.
        if (life.aborted || failure.code === SESSION_OVER) continue;
        await this.#beginAnew(failure);
      }
    }
  }

  /** Sends everything over another connection, after a pause; gives up when that was done often enough. */
  async #beginAnew(failure: SluiceError): Promise<void> {
    this.close();
    if (this.#renewals >= PUBLISH_RENEWALS_MAX) {
      this.#isAgreed();
      for (const source of this.#wishes.keys()) this.#refuse(source, failure);
      return;
    }
    this.#renewals += 1;
    this.#options.onHealth('lost');
    const life = this.#life.signal;
    await pause(this.#backoff.next(), life);
    // Whoever closed it meanwhile begins when there is a session again.
    if (!life.aborted) this.#isDirty = true;
  }

  #isAgreed(): void {
    this.#renewals = 0;
    this.#backoff.reset();
  }

  /** Ends what is not wanted any more. */
  async #withdraw(): Promise<void> {
    for (const [source, { trackId }] of [...this.#sent]) {
      if (this.#isWanted(source)) continue;
      this.#forget(source);
      await this.#ask({ type: 'unpublish_track', track_id: trackId }).catch(unlessOver);
    }
  }

  /** Offers what is new, what has ended, and new ICE credentials. */
  async #negotiate(): Promise<void> {
    const fresh = [...this.#wishes.keys()].filter((source) => this.#isWanted(source) && !this.#sent.has(source));
    const isDue = this.#connection !== undefined && (this.#isOfferDue || this.#isIceStale);
    if (fresh.length === 0 && !isDue) {
      // There is nothing to connect for.
      if (this.#connection === undefined) this.#options.onHealth(undefined);
      return;
    }
    const [connection, lines] = this.#connect();
    for (const source of fresh) {
      if (!lines.has(source)) await lines.take(source, this.#wishes.get(source)?.track ?? null);
    }
    const iceRestart = this.#isIceStale;
    [this.#isIceStale, this.#isOfferDue] = [false, false];
    await connection.setLocalDescription(await connection.createOffer({ iceRestart }));
    const announced = await this.#announce(fresh, lines);
    // Without those that were refused.
    if (announced.size < fresh.length) await connection.setLocalDescription(await connection.createOffer({ iceRestart }));
    this.#lastOfferId += 1;
    const sdp = connection.localDescription?.sdp ?? '';
    const answer = (await this.#ask({ type: 'offer', offer_id: this.#lastOfferId, sdp })) as Said<'answer'>;
    await connection.setRemoteDescription({ type: 'answer', sdp: answer.sdp });
    if (connection !== this.#connection) return;
    this.#isAgreed();
    this.#connectionId = answer.connection_id;
    for (const [source, sent] of announced) {
      const mid = lines.midOf(source);
      const trackId = answer.tracks.find((track) => track.mid === mid)?.track_id;
      if (trackId !== undefined) this.#sent.set(source, { ...sent, trackId });
      else this.#refuse(source, new SluiceError({ reason: 'rejected', message: 'The server does not take the track.' }));
    }
    // What is wanted may have changed meanwhile.
    this.#isDirty = true;
  }

  /** Says what the next offer sends. Gives what the server agreed to. */
  async #announce(fresh: readonly Source[], lines: Lines): Promise<Map<Source, Omit<Sent, 'trackId'>>> {
    const agreed = new Map<Source, Omit<Sent, 'trackId'>>();
    const announce = async (source: Source): Promise<void> => {
      const { muted = true, rooms = [], track = null } = this.#wishes.get(source) ?? {};
      const mid = lines.midOf(source) ?? null;
      const { width, height } = track?.getSettings() ?? {};
      try {
        await this.#ask({
          type: 'publish_track',
          mid,
          kind: kindOf(source),
          source,
          muted,
          room_ids: [...rooms],
          ...(kindOf(source) === 'video' && { width: whole(width), height: whole(height) }),
        });
        agreed.set(source, { muted, rooms: new Set(rooms) });
      } catch (thrown) {
        unlessOver(thrown);
        this.#refuse(source, toSluiceError(thrown));
        await lines.release(source);
      }
    };
    await Promise.all(fresh.map(announce));
    return agreed;
  }

  /** Rooms and silence of what is sent already. */
  async #adjust(): Promise<void> {
    for (const [source, sent] of [...this.#sent]) {
      const wish = this.#wishes.get(source);
      if (wish === undefined || !this.#isWanted(source)) continue;
      try {
        await this.#adjustOne(sent, wish);
      } catch (thrown) {
        unlessOver(thrown);
        const failure = toSluiceError(thrown);
        if (failure.code === 'no_such_track') {
          this.#forget(source);
          this.#isDirty = true;
        } else this.#options.onRefused(source, failure);
      }
    }
  }

  async #adjustOne(sent: Sent, { rooms, muted }: Wish): Promise<void> {
    const track_id = sent.trackId;
    const added = rooms.filter((room) => !sent.rooms.has(room));
    if (added.length > 0) {
      await this.#ask({ type: 'publish_track', track_id, room_ids: added });
      for (const room of added) sent.rooms.add(room);
    }
    for (const room_id of [...sent.rooms].filter((room) => !rooms.includes(room))) {
      await this.#ask({ type: 'unpublish_track', track_id, room_id });
      sent.rooms.delete(room_id);
    }
    if (sent.muted !== muted) {
      sent.muted = muted;
      await this.#ask({ type: 'mute_track', track_id, muted });
    }
  }

  #isWanted(source: Source): boolean {
    const wish = this.#wishes.get(source);
    if (wish === undefined || wish.rooms.length === 0 || this.#refused.has(source)) return false;
    return wish.track !== null || this.#sent.has(source);
  }

  #refuse(source: Source, failure: SluiceError): void {
    this.#refused.add(source);
    this.#options.onRefused(source, failure);
  }

  #connect(): [RTCPeerConnection, Lines] {
    if (this.#connection !== undefined && this.#lines !== undefined) return [this.#connection, this.#lines];
    const { environment, iceServers, onHealth } = this.#options;
    const connection = environment.createConnection({ bundlePolicy: 'max-bundle', iceServers: iceServers() });
    const lines = new Lines(connection);
    [this.#connection, this.#lines] = [connection, lines];
    const vigil = new Vigil(connection, (health) => {
      // The server takes an offer of another connection for the end of this one, and keeps the tracks.
      if (health === 'lost' && vigil.isBeyondRepair) this.#replace();
      else if (health === 'lost') this.restartIce();
      onHealth(health);
    });
    this.#vigil = vigil;
    onHealth('connecting');
    return [connection, lines];
  }

  #ask(request: ClientRequest): Promise<ServerMessage> {
    return this.#options.request(request, this.#life.signal);
  }
}

/** Throws on what ends the session; anything else was refused, and that is all. */
function unlessOver(thrown: unknown): void {
  if (toSluiceError(thrown).code === SESSION_OVER) throw thrown;
}

/** A side of a picture, where the browser knows it. */
function whole(pixels: number | undefined): number | null {
  return pixels === undefined ? null : Math.round(pixels);
}

/** The rooms in which a track of ours is published. */
function roomsOf(trackId: string, rooms: readonly RoomJoined[]): Set<string> {
  const having = rooms.filter(({ participant }) => participant.tracks.some(({ id }) => id === trackId));
  return new Set(having.map(({ room_id }) => room_id));
}
