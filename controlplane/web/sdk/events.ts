/** Listens to one kind of event. */
export type Listener<T> = (event: T) => void;

/**
 * A typed list of listeners. `Events` maps the name of each event to what it
 * carries. A listener that throws does not keep the others from hearing.
 */
export class Emitter<Events extends object> {
  readonly #listeners = new Map<keyof Events, Set<Listener<never>>>();

  /** Adds a listener; the function that it returns takes it away again. */
  on<Name extends keyof Events>(name: Name, listener: Listener<Events[Name]>): () => void {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners);
    listeners.add(listener);
    return () => listeners.delete(listener);
  }

  /** Tells everybody who listens to `name`. */
  emit<Name extends keyof Events>(name: Name, event: Events[Name]): void {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
      try {
        (listener as Listener<Events[Name]>)(event);
      } catch (error) {
        console.error('a listener of the Sluice SDK threw', error);
      }
    }
  }
}
