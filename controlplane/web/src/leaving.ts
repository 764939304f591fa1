/**
 * Calls `onLeave` when the page goes away, and `onReturn` when the browser had
 * kept it and shows it again. Returns how to stop that.
 */
export function watchLeaving(onLeave: () => void, onReturn: () => void): () => void {
  const onShow = (event: PageTransitionEvent): void => {
    if (event.persisted) onReturn();
  };
  addEventListener('pagehide', onLeave);
  addEventListener('pageshow', onShow);
  return () => {
    removeEventListener('pagehide', onLeave);
    removeEventListener('pageshow', onShow);
  };
}
