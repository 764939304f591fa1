import type { SluiceError } from '../failure';

/** Why a call is over without having failed. */
export type CallEnd =
  /** We left. */
  | 'left'
  /** A host removed us. */
  | 'removed'
  /** Another page with the same identity took our place. */
  | 'replaced'
  /** The room was ended for all. */
  | 'room_closed';

/**
 * Where a call stands.
 *
 * ```text
 *          start()            in the room
 *   idle ─────────► connecting ─────────► live ◄───────┐
 *    ▲                │                     │ lost     │ resumed, or
 *    │                ▼                     ▼          │ entered again
 *    └── start() ◄── failed ◄───────── reconnecting ───┘
 *    └── start() ◄── ended ◄── in no room any more
 * ```
 */
export type CallState =
  | { name: 'idle' }
  /** `attempt` counts from 1; `cause` is why the last one did not work. */
  | { name: 'connecting'; attempt: number; cause?: SluiceError }
  /** `since` is the time of the first connection, in ms since the epoch; breaks do not reset it. */
  | { name: 'live'; since: number }
  | { name: 'reconnecting'; attempt: number; since: number; cause?: SluiceError }
  | { name: 'ended'; because: CallEnd }
  | { name: 'failed'; failure: SluiceError };
