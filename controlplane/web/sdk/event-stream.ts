import { SluiceError } from './failure';
import { EVENT_CHARS_MAX, EVENT_SILENT_MS_MAX } from './limits';

/** One server-sent event. */
export interface ServerEvent {
  id: string;
  type: string;
  data: string;
}

/**
 * Reads server-sent events (the format of WHATWG HTML section 9.2) until the
 * stream ends. `EventSource` would do so too, but can send no token in a header
 * and does not say why a server refused.
 *
 * Fails when nothing comes for `EVENT_SILENT_MS_MAX`, not even the comment that
 * the server sends in between, and when an event is longer than
 * `EVENT_CHARS_MAX`.
 */
export async function readEvents(
  body: ReadableStream<Uint8Array>,
  onEvent: (event: ServerEvent) => void,
): Promise<void> {
  const parser = new EventParser(onEvent);
  const reader = body.getReader();
  const decoder = new TextDecoder();
  try {
    for (;;) {
      const chunk = await withinSilence(reader.read());
      if (chunk.done) return;
      parser.push(decoder.decode(chunk.value, { stream: true }));
    }
  } finally {
    void reader.cancel().catch(() => undefined);
  }
}

/** Cuts a stream of text into events; an event that its end cuts off is dropped. */
export class EventParser {
  readonly #onEvent: (event: ServerEvent) => void;
  #rest = '';
  #id = '';
  #type = '';
  #data: string[] = [];

  constructor(onEvent: (event: ServerEvent) => void) {
    this.#onEvent = onEvent;
  }

  push(text: string): void {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) this.#take(line.endsWith('\r') ? line.slice(0, -1) : line);
    const kept = this.#data.reduce((sum, part) => sum + part.length, this.#rest.length);
    if (kept > EVENT_CHARS_MAX) throw silent('An event of the server is too long.');
  }

  #take(line: string): void {
    if (line === '') {
      this.#dispatch();
      return;
    }
    const [, field = '', value = ''] = /^([^:]*):? ?(.*)$/.exec(line) ?? [];
    if (field === 'id') this.#id = value;
    else if (field === 'event') this.#type = value;
    else if (field === 'data') this.#data.push(value);
  }

  #dispatch(): void {
    const event = { id: this.#id, type: this.#type, data: this.#data.join('\n') };
    const isEmpty = this.#data.length === 0;
    this.#type = '';
    this.#data = [];
    if (!isEmpty) this.#onEvent(event);
  }
}

async function withinSilence<T>(promise: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const tooLate = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(silent('The events of the server fell silent.')), EVENT_SILENT_MS_MAX);
  });
  try {
    return await Promise.race([promise, tooLate]);
  } finally {
    clearTimeout(timer);
  }
}

function silent(message: string): SluiceError {
  return new SluiceError({ reason: 'unreachable', message });
}
