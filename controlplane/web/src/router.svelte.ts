import { parseRoute, type Route } from './routes';

class Router {
  route: Route = $state(parseRoute(location.pathname, location.search));
  /** Grows with each change of page, so that a page can be made afresh. */
  visit = $state(0);

  constructor() {
    addEventListener('popstate', () => this.#read());
  }

  /** Goes to another page without loading anything. */
  go(path: string): void {
    history.pushState(null, '', path);
    scrollTo(0, 0);
    this.#read();
  }

  #read(): void {
    this.route = parseRoute(location.pathname, location.search);
    this.visit += 1;
  }
}

export const router = new Router();

/** Attach to a link (`{@attach internal}`), so that it goes there without loading. */
export function internal(link: HTMLAnchorElement): () => void {
  const onClick = (event: MouseEvent): void => {
    const isPlain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
    if (!isPlain) return;
    event.preventDefault();
    router.go(link.pathname + link.search);
  };
  link.addEventListener('click', onClick);
  return () => link.removeEventListener('click', onClick);
}
