import { SluiceError } from './failure';
import { CONNECT_MS_MAX, DISCONNECTED_GRACE_MS } from './limits';

/** Whether media can flow at this moment. */
export function isConnected(connection: RTCPeerConnection): boolean {
  return connection.connectionState === 'connected';
}

/**
 * Whether the DTLS association is over. New ICE credentials cannot bring it
 * back: the far end closed it, or has forgotten it.
 */
export function dtlsIsDead(connection: RTCPeerConnection): boolean {
  if (connection.connectionState === 'closed') return true;
  return [...connection.getSenders(), ...connection.getReceivers()].some(
    ({ transport }) => transport?.state === 'closed' || transport?.state === 'failed',
  );
}

/**
 * Waits until the connection is up. Fails with `media_blocked` when ICE or
 * DTLS fail or take longer than `CONNECT_MS_MAX`.
 */
export function waitForConnected(
  connection: RTCPeerConnection,
  signal: AbortSignal,
): Promise<void> {
  // After an ICE restart `failed` stays for a moment, until checks begin.
  let mayFail = connection.connectionState !== 'failed';
  return watch(connection, signal, CONNECT_MS_MAX, (state, isLate) => {
    if (state === 'connected') return 'done';
    if (state !== 'failed') mayFail = true;
    if (isLate || (state === 'failed' && mayFail) || state === 'closed') {
      throw new SluiceError({
        reason: 'media_blocked',
        message: 'The server answered, but no media gets through.',
      });
    }
    return 'wait';
  });
}

/** Waits until a connection that was up is lost: at once when it failed, else after a grace time. */
export async function waitForLoss(
  connection: RTCPeerConnection,
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    await watch(connection, signal, undefined, (state) => (state === 'connected' ? 'wait' : 'done'));
    let isBack = false;
    await watch(connection, signal, DISCONNECTED_GRACE_MS, (state, isLate) => {
      isBack = state === 'connected';
      const isOver = state === 'failed' || state === 'closed';
      return isLate || isBack || isOver ? 'done' : 'wait';
    });
    if (!isBack) return;
  }
}

type Judge = (state: RTCPeerConnectionState, isLate: boolean) => 'wait' | 'done';

/** Asks `judge` now, at each change of state, and once when the time is over. */
function watch(
  connection: RTCPeerConnection,
  signal: AbortSignal,
  ms: number | undefined,
  judge: Judge,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const finish = (settle: () => void): void => {
      clearTimeout(timer);
      connection.removeEventListener('connectionstatechange', onChange);
      signal.removeEventListener('abort', onAbort);
      settle();
    };
    const ask = (isLate: boolean): void => {
      try {
        if (judge(connection.connectionState, isLate) === 'done') finish(resolve);
      } catch (error) {
        finish(() => reject(error));
      }
    };
    const onChange = (): void => ask(false);
    const onAbort = (): void => finish(() => reject(signal.reason));
    const timer = ms === undefined ? undefined : setTimeout(() => ask(true), ms);
    if (signal.aborted) {
      onAbort();
      return;
    }
    connection.addEventListener('connectionstatechange', onChange);
    signal.addEventListener('abort', onAbort);
    ask(false);
  });
}
