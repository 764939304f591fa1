import { MicrophoneLevel } from '../sdk';

/** Level of one's own microphone from which on one speaks, and how often that is looked at. */
const LEVEL_MIN = 0.42;
const INTERVAL_MS = 150;
const SILENT_MS = 600;

/** Whether one speaks oneself, looked at again and again. */
export class OwnVoice {
  isSpeaking = $state(false);
  readonly #microphone: () => MediaStreamTrack | null;
  #meter: { track: MediaStreamTrack; level: MicrophoneLevel } | undefined;
  #timer: ReturnType<typeof setInterval> | undefined;
  #heardAt = 0;

  /** `microphone` gives what is heard of one at the moment. */
  constructor(microphone: () => MediaStreamTrack | null) {
    this.#microphone = microphone;
  }

  start(): void {
    this.stop();
    this.#timer = setInterval(() => this.#look(), INTERVAL_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#meter?.level.close();
    this.#meter = undefined;
    this.#heardAt = 0;
    this.isSpeaking = false;
  }

  #look(): void {
    const track = this.#microphone();
    if (track !== (this.#meter?.track ?? null)) {
      this.#meter?.level.close();
      this.#meter = track === null ? undefined : { track, level: new MicrophoneLevel(track) };
    }
    if ((this.#meter?.level.read() ?? 0) > LEVEL_MIN) this.#heardAt = Date.now();
    this.isSpeaking = Date.now() - this.#heardAt < SILENT_MS;
  }
}
