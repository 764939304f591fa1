import { SluiceError, type FailureReason } from './failure';
import { RETRY_AFTER_MS_MAX } from './limits';

/**
 * Reads an answer that is not a success. The body is a problem document
 * (RFC 9457) when Sluice wrote it; a proxy in between may send anything.
 */
export async function problemFrom(response: Response): Promise<SluiceError> {
  const problem = await readProblem(response);
  return new SluiceError({
    reason: reasonFor(response.status),
    message: problem.detail ?? problem.title ?? `The server answered ${response.status}.`,
    status: response.status,
    code: problem.code,
    retryAfterMs: parseRetryAfter(response.headers.get('retry-after')),
  });
}

/** The {@link FailureReason} that an HTTP status stands for. */
export function reasonFor(status: number): FailureReason {
  switch (status) {
    case 401:
      return 'unauthorized';
    case 403:
      return 'forbidden';
    case 404:
    case 410:
      return 'not_found';
    case 409:
      return 'conflict';
    case 429:
    case 503:
      return 'busy';
    case 408:
    case 502:
    case 504:
      // A proxy that found no Sluice behind it.
      return 'unreachable';
    default:
      return status >= 400 && status < 500 ? 'rejected' : 'server_error';
  }
}

/**
 * Reads `Retry-After` in seconds (RFC 9110 section 10.2.3), bounded. The form
 * with a date is ignored: the clocks of browsers are not to be trusted.
 */
export function parseRetryAfter(value: string | null): number | undefined {
  if (value === null || !/^\d{1,6}$/.test(value.trim())) return undefined;
  return Math.min(Number(value) * 1000, RETRY_AFTER_MS_MAX);
}

interface Problem {
  title?: string | undefined;
  detail?: string | undefined;
  code?: string | undefined;
}

async function readProblem(response: Response): Promise<Problem> {
  const contentType = response.headers.get('content-type') ?? '';
  if (!/^application\/(problem\+)?json\b/i.test(contentType)) return {};
  try {
    const body: unknown = await response.json();
    if (typeof body !== 'object' || body === null) return {};
    const text = (key: string): string | undefined => {
      const value = (body as Record<string, unknown>)[key];
      return typeof value === 'string' && value !== '' ? value : undefined;
    };
    return { title: text('title'), detail: text('detail'), code: text('code') };
  } catch {
    return {};
  }
}
