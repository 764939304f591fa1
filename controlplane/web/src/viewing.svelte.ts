import {
  publishersOf,
  RoomWatch,
  WhepPlayer,
  type Flowing,
  type Participant,
  type QualitySample,
  type SessionState,
} from '../sdk';
import { sceneOf, type Scene } from './scene';
import { tokenSourceFor } from './tokens';
import { shownOf, whomToWatch } from './whom-to-watch';

/** How long nothing may arrive before a broadcast that was there counts as over, where the room does not say. */
const OVER_AFTER_MS = 12_000;

/** How long sound may come without a picture before that is worth a word. */
const PICTURE_LATE_MS = 1_500;

/** How long media may go on after the room said that nobody is live: what is under way still arrives. */
const DOUBT_MS = 4_000;

/**
 * How long nobody may be live after the room could not be asked for a while: who was live before is given the time to come
 * back, as after a restart of the server, before the broadcast counts as over.
 */
const COMES_BACK_MS = 20_000;

/** How long a chosen broadcaster may be gone, as for a reload, before somebody else is shown. */
const GIVE_UP_CHOSEN_MS = 5_000;

/** What the page for watching shows and does. */
export class Viewing {
  session: SessionState = $state.raw({ name: 'idle' });
  flowing: Flowing = $state.raw({ audio: false, video: false });
  stream: MediaStream | null = $state.raw(null);
  quality: QualitySample | undefined = $state.raw();
  roomName: string | undefined = $state();
  pin: string | undefined = $state();
  /** Who publishes; nothing while that is not known. */
  publishers: Participant[] | undefined = $state.raw();
  #chosen: string | undefined = $state();
  #hasPlayed = $state(false);
  #hasPlayedThis = $state(false);
  #isPictureMissing = $state(false);
  #isSilentForLong = $state(false);
  #isDoubted = $state(false);
  readonly #timers = new Map<string, ReturnType<typeof setTimeout>>();
  readonly #player: WhepPlayer;
  readonly #watch: RoomWatch;
  #wanted: string | undefined;
  /** Whether somebody was live when the room was heard of last. */
  #wasSomebodyLive = false;
  /** Whom the address names. */
  readonly #named: string | undefined;

  /** Whether the room says that somebody is live whom this page would show. */
  readonly #isSomebodyLive: boolean | undefined = $derived(
    this.publishers && shownOf(this.publishers, this.#chosen) !== undefined,
  );

  readonly scene: Scene = $derived(
    sceneOf({
      session: this.session,
      flowing: this.flowing,
      isSomebodyLive: this.#isDoubted ? undefined : this.#isSomebodyLive,
      hasPlayed: this.#hasPlayed,
      hasPlayedThis: this.#hasPlayedThis,
      isPictureMissing: this.#isPictureMissing,
      isSilentForLong: this.#isSilentForLong,
    }),
  );

  /** Who is live and not shown. */
  readonly others: Participant[] = $derived.by(() => {
    const publishers = this.publishers ?? [];
    const shown = shownOf(publishers, this.#chosen);
    return publishers.filter((publisher) => publisher !== shown);
  });

  constructor(roomId: string, participantId: string | undefined) {
    const token = tokenSourceFor(roomId, 'watch', () => this.pin);
    this.#named = participantId;
    this.#chosen = this.#wanted = participantId;
    this.#player = new WhepPlayer({
      roomId,
      ...(participantId !== undefined && { participantId }),
      token,
    });
    this.#player.on('state', (state) => this.#onState(state));
    this.#player.on('stream', (stream) => (this.stream = stream));
    this.#player.on('quality', (sample) => (this.quality = sample));
    this.#player.on('media', (flowing) => this.#onMedia(flowing));
    this.#watch = new RoomWatch({ roomId, token });
    this.#watch.on('room', ({ name }) => (this.roomName = name));
    this.#watch.on('participants', (participants) => this.#onParticipants(participants));
    this.#watch.on('closed', () => this.#player.close('room_gone'));
  }

  start(): void {
    this.#player.start();
  }

  close(): void {
    for (const name of this.#timers.keys()) this.#after(name, undefined);
    this.#watch.close();
    this.#player.close();
  }

  #onState(state: SessionState): void {
    this.session = state;
    if (state.name !== 'live') this.quality = undefined;
    // By now there is a token, and the server has taken it.
    if (state.name === 'live') this.#watch.start();
    this.#waitForMedia();
  }

  #onMedia(flowing: Flowing): void {
    this.flowing = flowing;
    if (flowing.audio || flowing.video) this.#hasPlayed = this.#hasPlayedThis = true;
    // A picture that was there took its time to be missed already.
    if (flowing.video) this.#isPictureMissing = true;
    const isLate = flowing.audio && !flowing.video && !this.#isPictureMissing;
    this.#after('picture', isLate ? PICTURE_LATE_MS : undefined, () => (this.#isPictureMissing = true));
    this.#waitForMedia();
  }

  #onParticipants(participants: Participant[] | undefined): void {
    const before = this.#isSomebodyLive;
    this.publishers = participants && publishersOf(participants);
    const now = this.#isSomebodyLive;
    if (now !== before) {
      if (now === false && before === undefined && this.#wasSomebodyLive) this.#onLost();
      else this.#onLiveness(now === false);
    }
    this.#wasSomebodyLive = now ?? this.#wasSomebodyLive;
    this.#choose();
  }

  #onLiveness(isOver: boolean): void {
    this.#isDoubted = false;
    if (isOver) this.#hasPlayedThis = this.#isPictureMissing = false;
    this.#after('doubt', isOver ? DOUBT_MS : undefined, () => {
      this.#isDoubted = this.flowing.audio || this.flowing.video;
      if (this.#isDoubted) this.#onMedia(this.flowing);
    });
    this.#waitForMedia();
  }

  /** Who was live is not any more, and nobody has heard it end: it is waited for. */
  #onLost(): void {
    this.#isDoubted = true;
    this.#after('doubt', COMES_BACK_MS, () => this.#onLiveness(true));
    this.#waitForMedia();
  }

  /** Prefers the host where several are live, unless the address names somebody. */
  #choose(): void {
    const publishers = this.publishers;
    const wanted = publishers && this.#named === undefined ? whomToWatch(publishers, this.#chosen) : this.#chosen;
    if (wanted === this.#wanted) return;
    this.#wanted = wanted;
    const isChange = wanted !== this.#chosen;
    this.#after('choice', isChange ? (wanted === undefined ? GIVE_UP_CHOSEN_MS : 0) : undefined, () => {
      this.#chosen = wanted;
      this.#hasPlayedThis = this.#isPictureMissing = false;
      this.#player.watch(wanted);
    });
  }

  /** Sees when a live session brings nothing for a long time. */
  #waitForMedia(): void {
    this.#isSilentForLong = false;
    const isSilent = !this.flowing.audio && !this.flowing.video && this.session.name === 'live';
    this.#after('silence', isSilent ? OVER_AFTER_MS : undefined, () => (this.#isSilentForLong = true));
  }

  /** Starts one of the timers again, or only stops it. */
  #after(name: string, ms: number | undefined, act: () => void = () => undefined): void {
    clearTimeout(this.#timers.get(name));
    if (ms === undefined) this.#timers.delete(name);
    else this.#timers.set(name, setTimeout(act, ms));
  }
}
