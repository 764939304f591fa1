/** Something that happened in a room, for a moment. */
export interface News {
  id: number;
  text: string;
}

const NEWS_MS = 5_000;
const NEWS_MAX = 4;

/** What happened a moment ago, the newest last: at most `NEWS_MAX`, each for `NEWS_MS`. */
export class NewsBoard {
  items: readonly News[] = $state.raw([]);
  #last = 0;

  tell(text: string): void {
    this.#last += 1;
    const item = { id: this.#last, text };
    this.items = [...this.items, item].slice(-NEWS_MAX);
    setTimeout(() => (this.items = this.items.filter(({ id }) => id !== item.id)), NEWS_MS);
  }

  clear(): void {
    this.items = [];
  }
}
