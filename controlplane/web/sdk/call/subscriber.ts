import type { Environment } from '../environment';
import type { ClientRequest, Said, ServerMessage, TrackSubscribed } from './protocol';
import { Vigil, type Health } from './vigil';

export interface SubscriberOptions {
  environment: Environment;
  iceServers: () => RTCIceServer[];
  request: (request: ClientRequest) => Promise<ServerMessage>;
  /** What arrives is different now. */
  onTracks: () => void;
  onHealth: (health: Health | undefined) => void;
}

/**
 * The connection over which a session receives. The server offers, and says
 * at which m-line each track arrives.
 */
export class SubscriberConnection {
  readonly #options: SubscriberOptions;
  #connection: RTCPeerConnection | undefined;
  #connectionId: string | undefined;
  #vigil: Vigil | undefined;
  #work: Promise<void> = Promise.resolve();
  /** The m-line of each track. */
  #mids = new Map<string, string>();
  #undecodable = new Map<string, readonly string[]>();
  #tracks: ReadonlyMap<string, MediaStreamTrack> = new Map();

  constructor(options: SubscriberOptions) {
    this.#options = options;
  }

  /** The media of each track that arrives, by the track's id. */
  get tracks(): ReadonlyMap<string, MediaStreamTrack> {
    return this.#tracks;
  }

  /** The m-line at which each track arrives, by the track's id. */
  get mids(): ReadonlyMap<string, string> {
    return this.#mids;
  }

  /** For each track that this browser cannot decode, the codecs that it comes in. */
  get undecodable(): ReadonlyMap<string, readonly string[]> {
    return this.#undecodable;
  }

  /** The connection in use, for statistics. */
  get connection(): RTCPeerConnection | undefined {
    return this.#connection;
  }

  handleMessage(message: ServerMessage): void {
    switch (message.type) {
      case 'offer':
        this.#work = this.#work.then(() => this.#answer(message)).catch((error: unknown) => {
          console.warn('an offer of the server could not be answered', error);
        });
        break;
      case 'track_subscribed':
        this.#note(message);
        this.#resolve();
        break;
      case 'track_unsubscribed':
        this.#mids.delete(message.track_id);
        this.#undecodable.delete(message.track_id);
        this.#resolve();
        break;
      case 'connection_closed':
        if (message.connection === 'subscriber' && message.connection_id === this.#connectionId) this.close();
        break;
      case 'resumed':
        this.#resumed(message);
        break;
    }
  }

  /** Has the server begin with new ICE credentials; what comes of it is an offer. */
  restartIce(): void {
    if (this.#connection === undefined) return;
    void this.#options.request({ type: 'restart_ice' }).catch(() => undefined);
  }

  /** Has the server offer another connection. */
  #renew(connectionId: string): void {
    void this.#options.request({ type: 'renew_connection', connection_id: connectionId }).catch(() => undefined);
  }

  close(): void {
    this.#discard();
    this.#mids.clear();
    this.#undecodable.clear();
    this.#resolve();
  }

  #resumed(message: Said<'resumed'>): void {
    const { subscriber_connection_id: id = null, complete, subscribed } = message;
    if (this.#connectionId !== undefined && this.#connectionId !== id) this.close();
    if (complete) return;
    this.#mids.clear();
    this.#undecodable.clear();
    for (const track of subscribed ?? []) this.#note(track);
    this.#resolve();
  }

  async #answer({ offer_id, connection_id, sdp }: Said<'offer'>): Promise<void> {
    if (this.#connectionId !== connection_id) {
      this.#discard();
      this.#connect(connection_id);
    }
    const connection = this.#connection;
    if (connection === undefined) return;
    await connection.setRemoteDescription({ type: 'offer', sdp });
    const answer = await connection.createAnswer();
    await connection.setLocalDescription(answer);
    if (connection !== this.#connection) return;
    this.#resolve();
    // An answer that comes too late, or twice, is refused: the next offer tells what holds.
    void this.#options.request({ type: 'answer', offer_id, sdp: answer.sdp ?? '' }).catch(() => undefined);
  }

  #connect(connectionId: string): void {
    const { environment, iceServers, onHealth } = this.#options;
    const connection = environment.createConnection({ bundlePolicy: 'max-bundle', iceServers: iceServers() });
    this.#connection = connection;
    this.#connectionId = connectionId;
    const vigil = new Vigil(connection, (health) => {
      if (health === 'lost' && vigil.isBeyondRepair) this.#renew(connectionId);
      else if (health === 'lost') this.restartIce();
      onHealth(health);
    });
    this.#vigil = vigil;
    onHealth('connecting');
  }

  #discard(): void {
    if (this.#connection === undefined) return;
    this.#vigil?.stop();
    this.#connection.close();
    this.#connection = undefined;
    this.#connectionId = undefined;
    this.#options.onHealth(undefined);
  }

  #note({ track_id, mid, undecodable }: TrackSubscribed): void {
    // An m-line carries one track at a time.
    for (const [other, at] of this.#mids) if (at === mid) this.#mids.delete(other);
    this.#mids.set(track_id, mid);
    if (undecodable == null) this.#undecodable.delete(track_id);
    else this.#undecodable.set(track_id, undecodable);
  }

  /** Finds the media of each track; tells when something is different. */
  #resolve(): void {
    const found = new Map<string, MediaStreamTrack>();
    const transceivers = this.#connection?.getTransceivers() ?? [];
    for (const [trackId, mid] of this.#mids) {
      const track = transceivers.find((transceiver) => transceiver.mid === mid)?.receiver.track;
      if (track !== undefined) found.set(trackId, track);
    }
    const isSame = found.size === this.#tracks.size && [...found].every(([id, track]) => this.#tracks.get(id) === track);
    if (isSame) return;
    this.#tracks = found;
    this.#options.onTracks();
  }
}
