import { CaptureError, LocalMedia, type CaptureReason, type Device } from '../sdk';
import { explainCapture, type Message } from './messages';

export type Capture = 'camera' | 'microphone';

/** A device that could not be had, in words and in the browser's. */
export interface CaptureTrouble {
  what: Capture | 'both' | 'screen';
  reason: CaptureReason | undefined;
  message: Message;
  detail: string | undefined;
  /** Whether trying again cannot help. */
  isHopeless: boolean;
}

/** Camera, microphone and screen of a page that sends them: what is open, what can be chosen, and what went wrong. */
export abstract class Devices {
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
  protected readonly media = new LocalMedia();

  constructor() {
    this.media.on('devices', () => void this.#listDevices());
    this.media.on('track', () => {
      this.readMedia();
      this.onMedia();
    });
    this.media.on('lost', ({ source }) => void this.openOne(source));
  }

  get canShareScreen(): boolean {
    return this.media.canShareScreen;
  }

  /** Whether there is anything to send. */
  get hasMedia(): boolean {
    return this.camera !== null || this.microphone !== null || this.screen !== null;
  }

  /** Whether a device is off because somebody forbids it, or because the address is not secure. */
  isBlocked(source: Capture): boolean {
    const { what, reason } = this.trouble ?? {};
    const isForbidden = reason === 'permission_denied' || reason === 'insecure_origin';
    return this[source] === null && isForbidden && (what === source || what === 'both');
  }

  /** Asks for camera and microphone together; falls back to the one that is there. */
  async openDevices(): Promise<void> {
    await this.#try('both', async () => {
      try {
        await this.media.open({ camera: true, microphone: true });
      } catch (error) {
        const isOneMissing =
          error instanceof CaptureError && (error.reason === 'not_found' || error.reason === 'in_use');
        if (!isOneMissing) throw error;
        await this.#openOneByOne(error);
      }
    });
  }

  /** Opens one device alone, or turns a camera on again. */
  async openOne(source: Capture, id?: string): Promise<void> {
    await this.#try(source, () => this.#open(source, id));
  }

  async toggleCamera(): Promise<void> {
    if (this.camera !== null) this.media.closeCamera();
    else await this.openOne('camera', this.cameraId);
  }

  async toggleMicrophone(): Promise<void> {
    if (this.microphone === null) {
      await this.openOne('microphone', this.microphoneId);
      return;
    }
    this.media.setMuted(!this.media.isMuted);
    this.readMedia();
  }

  async toggleScreen(): Promise<void> {
    if (this.screen !== null) {
      this.media.stopScreen();
      return;
    }
    try {
      await this.media.shareScreen({ sound: this.sharesSound });
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

  /** Whether the sound of a shared screen is sent too. */
  protected get sharesSound(): boolean {
    return false;
  }

  /** What is open has changed: send it. */
  protected abstract onMedia(): void;

  async #openOneByOne(first: CaptureError): Promise<void> {
    const troubles: { what: Capture; error: CaptureError }[] = [];
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

  async #open(source: Capture, id?: string): Promise<void> {
    const wanted = id === undefined || id === '' ? true : id;
    if (source === 'camera') await this.media.openCamera(wanted);
    else await this.media.openMicrophone(wanted);
  }

  async #try(what: Capture | 'both', open: () => Promise<void>): Promise<void> {
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

  #report(what: Capture | 'both', error: unknown): void {
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

  async #listDevices(): Promise<void> {
    const { cameras, microphones } = await this.media.devices();
    this.cameras = cameras;
    this.microphones = microphones;
  }

  protected readMedia(): void {
    this.camera = this.media.camera;
    this.microphone = this.media.microphone;
    this.screen = this.media.screen;
    this.isMuted = this.media.isMuted;
    this.cameraId = this.camera?.getSettings().deviceId ?? this.cameraId;
    this.microphoneId = this.microphone?.getSettings().deviceId ?? this.microphoneId;
  }
}
