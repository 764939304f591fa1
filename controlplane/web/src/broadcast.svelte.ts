import {
  publishersOf,
  RoomWatch,
  toSluiceError,
  WhipPublisher,
  type Participant,
  type QualitySample,
  type SessionState,
  type SluiceError,
  type TokenSource,
} from '../sdk';
import { Devices } from './devices.svelte';
import { knock } from './door';
import { OwnStay } from './own-stay';
import { tokenSourceFor } from './tokens';

/** What the page for going live shows and does besides its devices: publisher, room, and what went wrong. */
export class Broadcast extends Devices {
  session: SessionState = $state.raw({ name: 'idle' });
  quality: QualitySample | undefined = $state.raw();
  pin: string | undefined = $state();
  /** When the last broadcast began, and how long it was once it is over. */
  liveSince: number | undefined = $state();
  liveForMs: number | undefined = $state();
  /** Who is in the room; nothing while that is not known. */
  participants: Participant[] | undefined = $state.raw();
  roomName: string | undefined = $state();
  /** What stands in the way of going live here, found out before devices are asked for. */
  refusal: SluiceError | undefined = $state.raw();
  isEntering = $state(true);

  #isClosed = false;
  readonly #stay = new OwnStay();
  readonly #token: TokenSource;
  readonly #roomId: string;
  readonly #watch: RoomWatch;
  readonly #publisher: WhipPublisher;

  constructor(roomId: string, videoCodec: string | undefined) {
    super();
    const token = tokenSourceFor(roomId, 'live', () => this.pin);
    this.#roomId = roomId;
    this.#token = token;
    this.#watch = new RoomWatch({ roomId, token });
    this.#publisher = new WhipPublisher({
      roomId,
      token,
      mayReturn: () => this.#stay.mayReturn(roomId, token),
      ...(videoCodec !== undefined && { videoCodec }),
    });
    this.#watch.on('room', ({ name }) => (this.roomName = name));
    this.#watch.on('participants', (participants) => (this.participants = participants));
    this.#watch.on('closed', () => this.#publisher.leave('room_gone'));
    this.#watch.on('event', (event) => {
      if (this.#stay.isTakenBy(event, this.#publisher.isJoining)) this.#publisher.leave('replaced');
    });
    this.#publisher.on('quality', (sample) => (this.quality = sample));
    this.#publisher.on('state', (state) => this.#onState(state));
  }

  get isOn(): boolean {
    return ['connecting', 'live', 'reconnecting'].includes(this.session.name);
  }

  /** Who else is live in the room. */
  get others(): Participant[] {
    // Read before anything else, so that whatever shows this follows it.
    const publishers = publishersOf(this.participants ?? []);
    const own = this.#stay.identity;
    return own === undefined ? [] : publishers.filter(({ identity }) => identity !== own);
  }

  /** How many watch; nothing while that is not known. */
  get viewers(): number | undefined {
    return this.participants?.filter(
      ({ id, tracks, state }) => tracks.length === 0 && state !== 'joining' && id !== this.#stay.id,
    ).length;
  }

  /**
   * Looks whether one may go live here, then asks for devices. A server that
   * cannot say is no reason to stop: it is asked again on going live.
   */
  async enter(): Promise<void> {
    this.isEntering = true;
    this.refusal = undefined;
    try {
      await this.#knock();
    } catch (error) {
      const failure = toSluiceError(error);
      if (failure.isFinal) this.refusal = failure;
    }
    this.isEntering = false;
    if (this.refusal === undefined && !this.#isClosed) await this.openDevices();
  }

  goLive(): void {
    this.quality = undefined;
    this.liveSince = undefined;
    this.liveForMs = undefined;
    this.#publisher.start();
  }

  /** Stops publishing; camera and microphone stay open for another go. */
  leave(): void {
    this.#publisher.leave();
  }

  /** Leaves and lets go of all devices. */
  close(): void {
    this.#isClosed = true;
    this.#publisher.leave();
    this.#watch.close();
    this.media.close();
  }

  protected onMedia(): void {
    void this.#publisher.setTrack('video', this.media.video);
    void this.#publisher.setTrack('audio', this.media.microphone);
  }

  /** Learns who this page is in which room, and follows the room from then on. */
  async #knock(): Promise<void> {
    const { room, claims } = await knock(this.#roomId, this.#token);
    if (this.#isClosed) return;
    this.roomName = room.name;
    this.#stay.identity = claims?.identity;
    this.#watch.start();
  }

  #onState(state: SessionState): void {
    if (state.name === 'live') {
      this.liveSince = state.since;
      // What the server could not say before; going on does not depend on it.
      if (this.#stay.identity === undefined) void this.#knock().catch(() => undefined);
    }
    const isOver = state.name === 'ended' || state.name === 'failed';
    if (isOver && this.liveSince !== undefined) this.liveForMs = Date.now() - this.liveSince;
    if (state.name !== 'live') this.quality = undefined;
    this.session = state;
  }
}
