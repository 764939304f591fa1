import { CaptureError, toCaptureError } from './capture-error';
import { Emitter, type Listener } from './events';
import type { Kind } from './whip';

/** A camera or microphone that can be chosen. */
export interface Device {
  id: string;
  /** Empty until somebody has granted access. */
  label: string;
}

/** What to open: a device by its id, `true` for the system's choice, `false` for none. */
export interface Wanted {
  camera: string | boolean;
  microphone: string | boolean;
}

export interface LocalMediaEvents {
  /** What should be sent has changed: give it to a publisher. */
  track: { kind: Kind; track: MediaStreamTrack | null };
  /** A device stopped by itself: it was pulled out, or taken away by the system. */
  lost: { source: 'camera' | 'microphone' };
  /** Devices came or went; ask {@link LocalMedia.devices} again. */
  devices: void;
}

type MediaSource = Pick<
  MediaDevices,
  'getUserMedia' | 'getDisplayMedia' | 'enumerateDevices' | 'addEventListener'
>;

const CAMERA: MediaTrackConstraints = {
  width: { ideal: 1280 },
  height: { ideal: 720 },
  frameRate: { ideal: 30 },
};

const MICROPHONE: MediaTrackConstraints = {
  echoCancellation: true,
  noiseSuppression: true,
  autoGainControl: true,
};

/**
 * Owns the camera, the microphone and the shared screen of this page. The
 * screen takes the place of the camera while it is shared.
 */
export class LocalMedia {
  readonly #events = new Emitter<LocalMediaEvents>();
  readonly #source: MediaSource | undefined;
  #camera: MediaStreamTrack | null = null;
  #microphone: MediaStreamTrack | null = null;
  #screen: MediaStreamTrack | null = null;
  #screenSound: MediaStreamTrack | null = null;
  #isMuted = false;

  /** Without `source`, the devices of the browser: none where the page is not secure. */
  constructor(source: MediaSource | undefined = navigator.mediaDevices as MediaDevices | undefined) {
    this.#source = source;
    source?.addEventListener('devicechange', () => this.#events.emit('devices', undefined));
  }

  on<Name extends keyof LocalMediaEvents>(
    name: Name,
    listener: Listener<LocalMediaEvents[Name]>,
  ): () => void {
    return this.#events.on(name, listener);
  }

  get camera(): MediaStreamTrack | null {
    return this.#camera;
  }

  get microphone(): MediaStreamTrack | null {
    return this.#microphone;
  }

  get screen(): MediaStreamTrack | null {
    return this.#screen;
  }

  /** The sound of what is shared, where it was asked for and the browser gives it. */
  get screenSound(): MediaStreamTrack | null {
    return this.#screenSound;
  }

  /** What goes out as picture, where there is room for one. */
  get video(): MediaStreamTrack | null {
    return this.#screen ?? this.#camera;
  }

  get isMuted(): boolean {
    return this.#isMuted;
  }

  get canShareScreen(): boolean {
    return typeof this.#source?.getDisplayMedia === 'function';
  }

  async devices(): Promise<{ cameras: Device[]; microphones: Device[] }> {
    const all = (await this.#source?.enumerateDevices()) ?? [];
    const ofKind = (kind: MediaDeviceKind): Device[] =>
      all
        .filter((device) => device.kind === kind && device.deviceId !== '')
        .map((device) => ({ id: device.deviceId, label: device.label }));
    return { cameras: ofKind('videoinput'), microphones: ofKind('audioinput') };
  }

  /**
   * Opens camera and microphone with one question to the user. What is already
   * open and not wanted is closed. Throws {@link CaptureError}; then nothing
   * that was open before has changed.
   */
  async open(wanted: Wanted): Promise<void> {
    const stream = await this.#capture({
      video: constraints(CAMERA, wanted.camera),
      audio: constraints(MICROPHONE, wanted.microphone),
    });
    this.#setCamera(stream?.getVideoTracks()[0] ?? null);
    this.#setMicrophone(stream?.getAudioTracks()[0] ?? null);
  }

  /** Opens a camera, or another one. */
  async openCamera(id: string | true = true): Promise<void> {
    // Some systems lend a camera once only, so the old one goes first; the
    // same id may be opened twice, and then nothing is in its way.
    if (this.#camera !== null && this.#camera.getSettings().deviceId !== id) this.#camera.stop();
    try {
      const stream = await this.#capture({ video: constraints(CAMERA, id), audio: false });
      this.#setCamera(stream?.getVideoTracks()[0] ?? null);
    } catch (error) {
      if (this.#camera?.readyState === 'ended') this.closeCamera();
      throw error;
    }
  }

  /** Turns the camera off, its light too. */
  closeCamera(): void {
    this.#setCamera(null);
  }

  /** Opens a microphone, or another one. It stays muted if it was. */
  async openMicrophone(id: string | true = true): Promise<void> {
    const stream = await this.#capture({ video: false, audio: constraints(MICROPHONE, id) });
    this.#setMicrophone(stream?.getAudioTracks()[0] ?? null);
  }

  /** Turns the microphone off altogether, so that nothing is recorded any more. */
  closeMicrophone(): void {
    this.#setMicrophone(null);
  }

  /** Sends silence, or sound again. The microphone stays open, so coming back is instant. */
  setMuted(isMuted: boolean): void {
    this.#isMuted = isMuted;
    if (this.#microphone !== null) this.#microphone.enabled = !isMuted;
  }

  /** Shows a screen, a window or a tab in the place of the camera, with its `sound` where that is wanted and to be had. */
  async shareScreen({ sound = false } = {}): Promise<void> {
    const source = this.#secureSource();
    if (!this.canShareScreen) {
      throw new CaptureError('unsupported', 'This browser cannot share a screen.');
    }
    let stream: MediaStream;
    try {
      stream = await source.getDisplayMedia({ video: { frameRate: { max: 30 } }, audio: sound });
    } catch (error) {
      throw toCaptureError(error);
    }
    const track = stream.getVideoTracks()[0] ?? null;
    if (track !== null) track.contentHint = 'detail';
    this.#screen?.stop();
    this.#screenSound?.stop();
    this.#screen = track;
    this.#screenSound = sound ? (stream.getAudioTracks()[0] ?? null) : null;
    // The browser has a button of its own to stop sharing.
    track?.addEventListener('ended', () => {
      if (this.#screen === track) this.stopScreen();
    });
    this.#announce('video');
  }

  /** Goes back to the camera, or to no picture. */
  stopScreen(): void {
    if (this.#screen === null) return;
    this.#screen.stop();
    this.#screenSound?.stop();
    this.#screen = null;
    this.#screenSound = null;
    this.#announce('video');
  }

  /** Closes everything. */
  close(): void {
    this.stopScreen();
    this.#setCamera(null);
    this.#setMicrophone(null);
  }

  #secureSource(): MediaSource {
    if (this.#source === undefined) {
      throw new CaptureError('insecure_origin', 'Browsers give devices to secure pages only.');
    }
    return this.#source;
  }

  async #capture(wanted: MediaStreamConstraints): Promise<MediaStream | undefined> {
    if (!wanted.video && !wanted.audio) return undefined;
    try {
      return await this.#secureSource().getUserMedia(wanted);
    } catch (error) {
      throw toCaptureError(error);
    }
  }

  #setCamera(track: MediaStreamTrack | null): void {
    if (this.#camera !== track) this.#camera?.stop();
    this.#camera = track;
    if (track !== null) track.contentHint = 'motion';
    track?.addEventListener('ended', () => {
      if (this.#camera !== track) return;
      this.#camera = null;
      this.#announce('video');
      this.#events.emit('lost', { source: 'camera' });
    });
    this.#announce('video');
  }

  #setMicrophone(track: MediaStreamTrack | null): void {
    if (this.#microphone !== track) this.#microphone?.stop();
    this.#microphone = track;
    if (track !== null) track.enabled = !this.#isMuted;
    track?.addEventListener('ended', () => {
      if (this.#microphone !== track) return;
      this.#microphone = null;
      this.#announce('audio');
      this.#events.emit('lost', { source: 'microphone' });
    });
    this.#announce('audio');
  }

  #announce(kind: Kind): void {
    const track = kind === 'video' ? this.video : this.#microphone;
    this.#events.emit('track', { kind, track });
  }
}

function constraints(base: MediaTrackConstraints, device: string | boolean): MediaTrackConstraints | false {
  if (device === false) return false;
  return device === true ? base : { ...base, deviceId: { exact: device } };
}
