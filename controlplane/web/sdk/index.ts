/** The Sluice SDK for browsers: rooms and tokens, publishing by WHIP, playing by WHEP. */
export { SluiceApi } from './api';
export type { ApiOptions, Health, NewRoom, NewToken, Role, Room, Token } from './api';
export { CaptureError } from './capture-error';
export type { CaptureReason } from './capture-error';
export type { Environment } from './environment';
export { SluiceError } from './failure';
export type { FailureReason } from './failure';
export { LocalMedia } from './local-media';
export type { Device, LocalMediaEvents, Wanted } from './local-media';
export type { Flowing } from './media-flow';
export { MicrophoneLevel } from './microphone-level';
export type { QualitySample } from './quality';
export type { SessionState, TokenSource } from './session';
export { WhepPlayer } from './whep';
export type { PlayerEvents, PlayerOptions } from './whep';
export { WhipPublisher } from './whip';
export type { Kind, PublisherEvents, PublisherOptions } from './whip';
