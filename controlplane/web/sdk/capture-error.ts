/** Why a camera, a microphone or a screen could not be had. */
export type CaptureReason =
  /** The page is not served over https, nor from this machine itself. */
  | 'insecure_origin'
  /** This browser cannot do it at all, as phones cannot share a screen. */
  | 'unsupported'
  /** Somebody said no, or the system's settings did. */
  | 'permission_denied'
  /** There is no such device. */
  | 'not_found'
  /** Another program holds the device, or it failed. */
  | 'in_use'
  | 'unknown';

/** What {@link LocalMedia} throws. */
export class CaptureError extends Error {
  readonly reason: CaptureReason;

  constructor(reason: CaptureReason, message: string) {
    super(message);
    this.name = 'CaptureError';
    this.reason = reason;
  }
}

const REASONS: Readonly<Record<string, CaptureReason>> = {
  NotAllowedError: 'permission_denied',
  PermissionDeniedError: 'permission_denied',
  SecurityError: 'permission_denied',
  NotFoundError: 'not_found',
  DevicesNotFoundError: 'not_found',
  OverconstrainedError: 'not_found',
  NotReadableError: 'in_use',
  TrackStartError: 'in_use',
  AbortError: 'in_use',
  NotSupportedError: 'unsupported',
};

/** Puts what `getUserMedia` and `getDisplayMedia` throw into our words. */
export function toCaptureError(thrown: unknown): CaptureError {
  if (thrown instanceof CaptureError) return thrown;
  const name = thrown instanceof Error ? thrown.name : '';
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new CaptureError(REASONS[name] ?? 'unknown', message);
}
