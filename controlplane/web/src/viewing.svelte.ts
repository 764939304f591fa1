import { WhepPlayer, type Flowing, type QualitySample, type SessionState } from '../sdk';
import { tokenSourceFor } from './tokens';

/** How long nothing may arrive before a broadcast that was there counts as over. */
const OVER_AFTER_MS = 12_000;

/** What a viewer sees, made from the session and from what arrives over it. */
export type Scene =
  | 'connecting'
  /** The room is there, and nobody is live yet. */
  | 'waiting'
  | 'playing'
  /** There is sound, and no picture. */
  | 'sound_only'
  /** It was playing, and nothing arrives at the moment. */
  | 'paused'
  | 'reconnecting'
  /** It was playing, and is over as far as one can tell; it goes on by itself if it comes back. */
  | 'over'
  | 'room_gone'
  | 'failed';

/** What the page for watching shows and does. */
export class Viewing {
  session: SessionState = $state.raw({ name: 'idle' });
  flowing: Flowing = $state.raw({ audio: false, video: false });
  stream: MediaStream | null = $state.raw(null);
  quality: QualitySample | undefined = $state.raw();
  pin: string | undefined = $state();
  #hasPlayed = $state(false);
  #isOver = $state(false);
  #overTimer: ReturnType<typeof setTimeout> | undefined;
  readonly #player: WhepPlayer;

  readonly scene: Scene = $derived.by(() => {
    switch (this.session.name) {
      case 'idle':
      case 'connecting':
        return 'connecting';
      case 'reconnecting':
        return 'reconnecting';
      case 'failed':
        return 'failed';
      case 'ended':
        return this.session.because === 'room_gone' ? 'room_gone' : 'over';
      case 'live':
        if (this.flowing.video) return 'playing';
        if (this.flowing.audio) return 'sound_only';
        if (!this.#hasPlayed) return 'waiting';
        return this.#isOver ? 'over' : 'paused';
    }
  });

  constructor(roomId: string, participantId: string | undefined) {
    this.#player = new WhepPlayer({
      roomId,
      ...(participantId !== undefined && { participantId }),
      token: tokenSourceFor(roomId, 'watch', () => this.pin),
    });
    this.#player.on('state', (state) => {
      this.session = state;
      if (state.name !== 'live') this.quality = undefined;
      this.#waitForMedia();
    });
    this.#player.on('stream', (stream) => (this.stream = stream));
    this.#player.on('quality', (sample) => (this.quality = sample));
    this.#player.on('media', (flowing) => this.#onMedia(flowing));
  }

  start(): void {
    this.#player.start();
  }

  close(): void {
    clearTimeout(this.#overTimer);
    this.#player.close();
  }

  #onMedia(flowing: Flowing): void {
    this.flowing = flowing;
    if (flowing.audio || flowing.video) this.#hasPlayed = true;
    this.#waitForMedia();
  }

  /** Counts a broadcast as over when a live session brings nothing for a while. */
  #waitForMedia(): void {
    clearTimeout(this.#overTimer);
    this.#isOver = false;
    const isSilent = !this.flowing.audio && !this.flowing.video;
    if (isSilent && this.session.name === 'live') {
      this.#overTimer = setTimeout(() => (this.#isOver = true), OVER_AFTER_MS);
    }
  }
}
