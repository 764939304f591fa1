import {
  CaptureError,
  LocalMedia,
  publishersOf,
  RoomWatch,
  WhipPublisher,
  type CaptureReason,
  type Device,
  type Participant,
  type QualitySample,
  type SessionState,
  type TokenSource,
} from '../sdk';
import { toSluiceError, type SluiceError } from '../sdk/failure';
import { knock } from './door';
import { explainCapture, type Message } from './messages';
import { OwnStay } from './own-stay';
import { tokenSourceFor } from './tokens';

type Source = 'camera' | 'microphone';

/** A device that could not be had, in words and in the browser's. */
export interface CaptureTrouble {
  what: Source | 'both' | 'screen';
  reason: CaptureReason | undefined;
  message: Message;
  detail: string | undefined;
  /** Whether trying again cannot help. */
  isHopeless: boolean;
}

/** What the page for going live shows and does: devices, publisher, and what went wrong. */
export class Broadcast {
  session: SessionState = $state.raw({ name: 'idle' });
  quality: QualitySample | undefined = $state.raw();
  trouble: CaptureTrouble | undefined = $state.raw();
  camera: MediaStreamTrack | null = $state.raw(null);
  microphone: MediaStreamTrack | null = $state.raw(null);
  screen: MediaStreamTrack | null = $state.raw(null);
  isMuted = $state(false);
  /** Between asking for devices and having them. */
  isOpening = $state(false);
  cameras: Device[] = $state.raw([]);
  microphones: Device[] = $state.raw([]);
  cameraId = $state('');
  microphoneId = $state('');
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
  readonly #media = new LocalMedia();
  readonly #publisher: WhipPublisher;

  constructor(roomId: string, videoCodec: string | undefined) {
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
    this.#media.on('devices', () => void this.#listDevices());
    this.#media.on('track', ({ kind, track }) => {
      this.#readMedia();
      void this.#publisher.setTrack(kind, track);
    });
    this.#media.on('lost', ({ source }) => void this.#replaceLost(source));
  }

  get canShareScreen(): boolean {
    return this.#media.canShareScreen;
  }

  /** Whether there is anything to send. */
  get hasMedia(): boolean {
    return this.camera !== null || this.microphone !== null || this.screen !== null;
  }

  /** Whether a device is off because somebody forbids it. */
  isBlocked(source: Source): boolean {
    const { what, reason } = this.trouble ?? {};
    return this[source] === null && reason === 'permission_denied' && (what === source || what === 'both');
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

  /** Asks for camera and microphone together; falls back to the one that is there. */
  async openDevices(): Promise<void> {
    await this.#try('both', async () => {
      try {
        await this.#media.open({ camera: true, microphone: true });
      } catch (error) {
        const isOneMissing =
          error instanceof CaptureError && (error.reason === 'not_found' || error.reason === 'in_use');
        if (!isOneMissing) throw error;
        await this.#openOneByOne(error);
      }
    });
  }

  /** Opens one device alone, or turns a camera on again. */
  async openOne(source: Source, id?: string): Promise<void> {
    await this.#try(source, () => this.#open(source, id));
  }

  async toggleCamera(): Promise<void> {
    if (this.camera !== null) this.#media.closeCamera();
    else await this.openOne('camera', this.cameraId);
  }

  async toggleMicrophone(): Promise<void> {
    if (this.microphone === null) {
      await this.openOne('microphone', this.microphoneId);
      return;
    }
    this.#media.setMuted(!this.#media.isMuted);
    this.#readMedia();
  }

  async toggleScreen(): Promise<void> {
    if (this.screen !== null) {
      this.#media.stopScreen();
      return;
    }
    try {
      await this.#media.shareScreen();
      this.trouble = undefined;
    } catch (error) {
      // To choose nothing in the browser's dialogue is no failure.
      if (error instanceof CaptureError && error.reason === 'permission_denied') return;
      this.trouble = {
        what: 'screen',
        reason: error instanceof CaptureError ? error.reason : undefined,
        message: {
          title: 'The screen cannot be shared',
          advice: 'Allow screen recording for your browser in the settings of your system, then try again.',
        },
        detail: `The browser says: ${error instanceof Error ? error.message : String(error)}`,
        isHopeless: false,
      };
    }
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
    this.#media.close();
  }

  /** Learns who this page is in which room, and follows the room from then on. */
  async #knock(): Promise<void> {
    const { room, claims } = await knock(this.#roomId, this.#token);
    if (this.#isClosed) return;
    this.roomName = room.name;
    this.#stay.identity = claims?.identity;
    this.#watch.start();
  }

  async #openOneByOne(first: CaptureError): Promise<void> {
    const troubles: { what: Source; error: CaptureError }[] = [];
    for (const what of ['camera', 'microphone'] as const) {
      try {
        await this.#open(what);
      } catch (error) {
        if (error instanceof CaptureError) troubles.push({ what, error });
      }
    }
    if (troubles.length > 1) throw first;
    const [trouble] = troubles;
    if (trouble !== undefined) this.#report(trouble.what, trouble.error);
  }

  async #open(source: Source, id?: string): Promise<void> {
    const wanted = id === undefined || id === '' ? true : id;
    if (source === 'camera') await this.#media.openCamera(wanted);
    else await this.#media.openMicrophone(wanted);
  }

  async #try(what: Source | 'both', open: () => Promise<void>): Promise<void> {
    this.isOpening = true;
    this.trouble = undefined;
    try {
      await open();
    } catch (error) {
      this.#report(what, error);
    }
    this.isOpening = false;
    await this.#listDevices();
  }

  #report(what: Source | 'both', error: unknown): void {
    const known = error instanceof CaptureError ? error : new CaptureError('unknown', String(error));
    const isHopeless = known.reason === 'insecure_origin' || known.reason === 'unsupported';
    this.trouble = {
      what,
      reason: known.reason,
      message: explainCapture(known, what),
      detail: isHopeless ? undefined : `The browser says: ${known.message}`,
      isHopeless,
    };
  }

  /** A device was pulled out: go on with whatever the system offers now. */
  async #replaceLost(source: Source): Promise<void> {
    await this.openOne(source);
  }

  async #listDevices(): Promise<void> {
    const { cameras, microphones } = await this.#media.devices();
    this.cameras = cameras;
    this.microphones = microphones;
  }

  #readMedia(): void {
    this.camera = this.#media.camera;
    this.microphone = this.#media.microphone;
    this.screen = this.#media.screen;
    this.isMuted = this.#media.isMuted;
    this.cameraId = this.camera?.getSettings().deviceId ?? this.cameraId;
    this.microphoneId = this.microphone?.getSettings().deviceId ?? this.microphoneId;
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
