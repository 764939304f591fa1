import {
  CallSession,
  mayPublish,
  SluiceApi,
  TOKEN_EXPIRED,
  toSluiceError,
  type CallParticipant,
  type CallRoom,
  type CallState,
  type QualitySample,
  type SluiceError,
  type Source,
  type TokenSource,
} from '../sdk';
import { expiringWords, isOnlooker, nameOf, wentWord, type LeftBehind } from './call-words';
import { Devices } from './devices.svelte';
import { knock } from './door';
import { explainFailure } from './messages';
import { NewsBoard } from './news.svelte';
import { OwnVoice } from './own-voice.svelte';
import { keepRoomName, roomTitle } from './room-names';
import { guestIdentity, keepToken, keepTokenOfMove, tokenSourceFor } from './tokens';

const SOURCES: readonly Source[] = ['camera', 'microphone', 'screen_share', 'screen_share_audio'];
const ARRIVAL_MS = 600;
const NAME_KEY = 'sluice.name';

/** What the page of a call shows and does besides its devices. */
export class Call extends Devices {
  session: CallState = $state.raw({ name: 'idle' });
  rooms: readonly CallRoom[] = $state.raw([]);
  tracks: ReadonlyMap<string, MediaStreamTrack> = $state.raw(new Map());
  quality: ReadonlyMap<string, QualitySample> = $state.raw(new Map());
  speaking: ReadonlySet<string> = $state.raw(new Set());
  /** Whether picture and sound get through. */
  isFlowing = $state(true);
  /** Whether a host has muted one's microphone, which only a host can undo. */
  isMutedByHost = $state(false);
  /** What happened in the rooms a moment ago. */
  readonly news = new NewsBoard();
  /** Whether one speaks. */
  readonly voice = new OwnVoice(() => (this.isMuted ? null : this.microphone));
  /** What stands in the way of entering, found out before devices are asked for. */
  refusal: SluiceError | undefined = $state.raw();
  isEntering = $state(true);
  roomName: string | undefined = $state();
  /** What one is called here; kept for the next call. */
  name = $state(localStorage.getItem(NAME_KEY) ?? '');
  pin: string | undefined = $state();
  /** The ids of one's own tracks, as far as they are published. */
  sent: Partial<Record<Source, string>> = $state.raw({});
  /** Grows when what is shared with which room changes. */
  #shares = $state(0);
  #isClosed = false;
  readonly #tokens = new Map<string, TokenSource>();
  /** The room that the page is about: the first of those that one is in. */
  roomId: string = $state('');
  /** The room that is open beside it. */
  secondId: string | undefined = $state();
  /** Whether the second room is still to be opened again. */
  #isSecondDue = false;
  /** How the room was when one was in it last. */
  leftBehind: LeftBehind = 'others';
  readonly #call: CallSession;

  constructor(roomId: string, secondId?: string) {
    super();
    this.roomId = roomId;
    this.secondId = secondId;
    this.#call = new CallSession({
      token: async ({ roomId: room, ...request }) => this.#tokenOf(room)(request),
    });
    this.#listen();
  }

  /** The rooms of the page's address. */
  get places(): readonly string[] {
    return this.secondId === undefined ? [this.roomId] : [this.roomId, this.secondId];
  }

  /** Whether one is in the call, or about to be. */
  get isOn(): boolean {
    return ['connecting', 'live', 'reconnecting'].includes(this.session.name);
  }

  get canSwitchScreen(): boolean {
    return this.canShareScreen && this.maySend('screen_share');
  }

  get hostRooms(): readonly CallRoom[] {
    return this.rooms.filter(({ me }) => me.role === 'host');
  }

  /** Whether one may send a source in any of the rooms; before the call, that is open. */
  maySend(source: Source): boolean {
    return this.rooms.length === 0 || this.rooms.some(({ me }) => mayPublish(me, source));
  }

  isShared(roomId: string, source: Source): boolean {
    void this.#shares;
    return this.#call.isShared(roomId, source);
  }

  /** Whether a room gets a source of ours, as soon as it is on: one wants that, and may. */
  goesTo(room: CallRoom, source: Source): boolean {
    return this.isShared(room.id, source) && mayPublish(room.me, source);
  }

  share(roomId: string, source: Source, isShared: boolean): void {
    this.#call.share(roomId, source, isShared);
    this.#shares += 1;
  }

  /** Looks whether one may enter, then asks for devices. */
  async enter(): Promise<void> {
    this.isEntering = true;
    this.refusal = undefined;
    try {
      const { room } = await knock(this.roomId, this.#tokenOf(this.roomId), { mayOnlyWatch: true });
      this.roomName = room.name;
    } catch (thrown) {
      const failure = toSluiceError(thrown);
      if (failure.isFinal) this.refusal = failure;
    }
    this.isEntering = false;
    if (this.refusal === undefined && !this.#isClosed && !this.hasMedia) await this.openDevices();
  }

  join(): void {
    this.name = this.name.trim();
    localStorage.setItem(NAME_KEY, this.name);
    this.news.clear();
    // Whoever goes in all the same knows what was missing.
    this.trouble = undefined;
    this.isFlowing = true;
    this.onMedia();
    this.#isSecondDue = true;
    this.#call.start(this.roomId);
  }

  /** Leaves all rooms; camera and microphone stay open for another go. */
  hangUp(): void {
    this.secondId = undefined;
    this.suspend();
  }

  /** Leaves all rooms while the page is away; joining again goes back to them. */
  suspend(): void {
    this.media.stopScreen();
    this.#call.close();
  }

  leave(roomId: string): void {
    this.#call.leave(roomId);
  }

  /** Enters a second room, which neither sees nor hears one until that is chosen. */
  async openSecond(roomId: string): Promise<void> {
    for (const source of SOURCES) this.share(roomId, source, false);
    await this.#call.enter(roomId);
  }

  /** Creates another room, whose host one is. */
  async createRoom(name: string): Promise<string> {
    const room = await new SluiceApi().createRoom({ name, identity: guestIdentity() });
    if (room.token !== undefined) keepToken(room.id, room.token);
    keepRoomName(room.id, room.name);
    return room.id;
  }

  show(roomId: string, trackId: string, size: { width: number; height: number } | undefined): void {
    this.#call.show(roomId, trackId, size);
  }

  /** Does something as a host; what the server refuses becomes a word. */
  async manage(roomId: string, act: (host: ReturnType<CallSession['host']>) => Promise<void>): Promise<void> {
    try {
      await act(this.#call.host(roomId));
    } catch (thrown) {
      this.news.tell(`That did not work: ${toSluiceError(thrown).message}`);
    }
  }

  override async toggleMicrophone(): Promise<void> {
    if (this.isMutedByHost && (this.isMuted || this.microphone === null)) {
      this.news.tell('A host has muted you. Only a host can change that.');
      return;
    }
    await super.toggleMicrophone();
    this.onMedia();
  }

  /** Leaves and lets go of everything. */
  close(): void {
    this.#isClosed = true;
    this.voice.stop();
    this.#call.close();
    this.media.close();
  }

  protected override get sharesSound(): boolean {
    return true;
  }

  protected onMedia(): void {
    const { camera, microphone, screen, screenSound, isMuted } = this.media;
    this.#call.publish('camera', camera, camera === null);
    this.#call.publish('microphone', microphone, microphone === null || isMuted);
    for (const [source, track] of [['screen_share', screen], ['screen_share_audio', screenSound]] as const) {
      if (track === null) this.#call.unpublish(source);
      else this.#call.publish(source, track);
    }
  }

  #tokenOf(roomId: string): TokenSource {
    const known = this.#tokens.get(roomId) ?? tokenSourceFor(roomId, 'live', () => this.pin);
    this.#tokens.set(roomId, known);
    return known;
  }

  #listen(): void {
    const call = this.#call;
    call.on('state', (state) => this.#onState(state));
    call.on('rooms', (rooms) => this.#onRooms(rooms));
    call.on('tracks', (tracks) => (this.tracks = tracks));
    call.on('quality', (quality) => (this.quality = quality));
    call.on('speaking', (speaking) => (this.speaking = speaking));
    call.on('media', (media) => (this.isFlowing = media === 'flowing'));
    call.on('sending', () => this.#readSent());
    call.on('came', ({ participant, roomId }) => this.#tellOfArrival(participant, roomId));
    call.on('went', ({ participant, roomId, reason }) => {
      if (reason !== 'replaced' && !isOnlooker(participant)) this.news.tell(`${nameOf(participant)} ${wentWord(reason)}${this.#where(roomId)}`);
    });
    call.on('muted', ({ source, muted }) => this.#onMuted(source, muted));
    call.on('refused', ({ source, failure }) => this.news.tell(`Your ${wordFor(source)} cannot be sent: ${failure.message}`));
    call.on('expiring', ({ roomId, leftMs }) => this.news.tell(expiringWords(roomTitle(roomId), leftMs)));
    call.on('left', ({ roomId, reason, movedTo, token }) => {
      if (movedTo !== undefined && token !== undefined) keepTokenOfMove(movedTo, token);
      if (reason === 'moved') this.news.tell(`A host moved you to ${roomTitle(movedTo ?? '')}`);
      else if (reason === TOKEN_EXPIRED) this.news.tell(`Your link for ${roomTitle(roomId)} has expired`);
      else if (reason !== 'left' && this.rooms.length > 0) this.news.tell(`You are not in ${roomTitle(roomId)} any more`);
    });
  }

  #onRooms(rooms: readonly CallRoom[]): void {
    const before = this.rooms;
    this.rooms = rooms;
    for (const room of rooms) {
      const known = before.find(({ id }) => id === room.id);
      if (known === undefined) keepRoomName(room.id, room.info.name);
      // Whoever comes back after a lost session is somebody new to the room.
      if (known?.me.id !== room.me.id) this.#nameMyself(room);
      this.#tellOfLeave(room, known);
    }
    this.#stopWhatNobodyGets();
    this.#follow(rooms, before);
  }

  /** Knows which rooms the page is about, and opens again the second one of before. */
  #follow(rooms: readonly CallRoom[], before: readonly CallRoom[]): void {
    const first = rooms.find(({ id }) => id === this.roomId) ?? rooms[0];
    if (first === undefined) {
      const [last] = before;
      if (last !== undefined) this.leftBehind = behindIn(last);
      return;
    }
    this.roomId = first.id;
    this.roomName = first.info.name;
    const due = this.#isSecondDue ? this.secondId : undefined;
    this.#isSecondDue = false;
    if (due === undefined) this.secondId = rooms.find(({ id }) => id !== first.id)?.id;
    else void this.#openAgain(due);
  }

  async #openAgain(roomId: string): Promise<void> {
    // The session enters by itself what it knows when it has entered the first room.
    await Promise.resolve();
    try {
      await this.openSecond(roomId);
    } catch (thrown) {
      this.secondId = undefined;
      this.news.tell(`You are not in ${roomTitle(roomId)} again: ${explainFailure(toSluiceError(thrown)).title}`);
    }
  }

  /** Tells the room what one is called. */
  #nameMyself({ id, me }: CallRoom): void {
    if (this.name === '' || me.name === this.name) return;
    this.#call.rename(id, this.name).catch(() => undefined);
  }

  /** Says what one may do in a room from now on, when that has changed, or when it is only to listen. */
  #tellOfLeave({ id, me }: CallRoom, known: CallRoom | undefined): void {
    const may = (participant: CallParticipant): Source[] => SOURCES.filter((source) => mayPublish(participant, source));
    const [before, now] = [known === undefined ? SOURCES : may(known.me), may(me)];
    const where = this.rooms.length > 1 ? ` in ${roomTitle(id)}` : '';
    const [lost] = before.filter((source) => !now.includes(source));
    if (now.length === 0 && lost !== undefined) {
      this.news.tell(
        known === undefined
          ? `You are a listener${where}: nobody sees or hears you.`
          : `A host made you a listener${where}: nobody sees or hears you any more.`,
      );
    } else if (lost !== undefined && known !== undefined) {
      this.news.tell(`A host does not let you send your ${wordFor(lost)} any more${where}.`);
    } else if (known !== undefined && now.length > before.length) {
      this.news.tell(`A host lets you speak${where}: turn on your microphone and camera when you like.`);
    }
  }

  /** Lets go of devices whose pictures and sound may go to no room. */
  #stopWhatNobodyGets(): void {
    if (this.camera !== null && !this.maySend('camera')) this.media.closeCamera();
    if (this.screen !== null && !this.maySend('screen_share')) this.media.stopScreen();
    if (this.maySend('microphone')) return;
    if (this.microphone !== null) this.media.closeMicrophone();
    // What comes after is another track, which no host has muted.
    this.isMutedByHost = false;
  }

  /** A host's mute is one's own too, so that one is heard again only when one wants to. */
  #onMuted(source: Source, muted: boolean): void {
    if (source === 'microphone') this.isMutedByHost = muted;
    if (muted && source === 'microphone') {
      this.media.setMuted(true);
      this.readMedia();
      this.onMedia();
    }
    this.news.tell(muted ? `A host muted your ${wordFor(source)}` : `A host lets you turn on your ${wordFor(source)} again`);
  }

  #onState(state: CallState): void {
    const wasOn = this.isOn;
    this.session = state;
    if (this.isOn && !wasOn) this.voice.start();
    if (this.isOn || !wasOn) return;
    this.voice.stop();
    this.media.stopScreen();
    this.isMutedByHost = false;
    this.sent = {};
    this.quality = new Map();
  }

  #readSent(): void {
    const sent: Partial<Record<Source, string>> = {};
    for (const source of SOURCES) {
      const trackId = this.#call.trackIdOf(source);
      if (trackId !== undefined) sent[source] = trackId;
    }
    this.sent = sent;
  }

  /** Guests say a moment after they came what they are called. */
  #tellOfArrival({ id, ...came }: CallParticipant, roomId: string): void {
    setTimeout(() => {
      const others = this.rooms.find((room) => room.id === roomId)?.others;
      const now = others?.find((other) => other.id === id) ?? came;
      // Whoever comes only to look on is counted, and greeted by nobody.
      if (!isOnlooker(now)) this.news.tell(`${nameOf(now)} joined${this.#where(roomId)}`);
    }, ARRIVAL_MS);
  }

  /** Names the room where there is more than one. */
  #where(roomId: string): string {
    return this.rooms.length > 1 ? ` ${roomTitle(roomId)}` : '';
  }
}

/** The track of somebody that comes from a source. */
export function trackOf({ tracks }: CallParticipant, source: Source): CallParticipant['tracks'][number] | undefined {
  return tracks.find((track) => track.source === source);
}

function behindIn({ info, me, others }: CallRoom): LeftBehind {
  if (info.locked && me.role !== 'host') return 'locked';
  return others.length > 0 ? 'others' : 'nobody';
}

function wordFor(source: Source): string {
  return { camera: 'camera', microphone: 'microphone', screen_share: 'screen', screen_share_audio: 'shared sound' }[source];
}

