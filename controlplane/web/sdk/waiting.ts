/**
 * Waits, but not longer than until `signal` aborts or `onOnline` calls: when
 * the network is back there is no reason to sit out a pause.
 */
export function pause(
  ms: number,
  signal: AbortSignal,
  onOnline: (listener: () => void) => () => void = () => () => undefined,
): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve();
      return;
    }
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      stopListening();
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done);
    const stopListening = onOnline(done);
  });
}
