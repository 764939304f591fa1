import type { CaptureError, SluiceError } from '../sdk';

/** Problem code for somebody who wants to go live with a token that is for watching. */
export const ONLY_TO_WATCH = 'only_to_watch';

/** What went wrong, and what to do about it. */
export interface Message {
  title: string;
  advice: string;
}

/** Plain words for what the server or the network did. `isPinWrong`: a PIN was entered and refused. */
export function explainFailure(failure: SluiceError, isPinWrong = false): Message {
  switch (failure.code) {
    case 'room_locked':
      return { title: 'The room is locked', advice: 'Nobody can join until a host opens it again. Ask the host to let you in.' };
    case 'room_full':
      return { title: 'The room is full', advice: 'Try again when somebody has left.' };
    case 'token_revoked':
      return { title: 'Your invitation was withdrawn', advice: 'A host removed you from this room. Ask the host for a new link.' };
    case 'token_of_earlier_room':
      return { title: 'Your link is for an earlier room', advice: 'That room was closed, and this one has its name. Ask the host for a new link.' };
    default:
      return explainReason(failure, isPinWrong);
  }
}

function explainReason(failure: SluiceError, isPinWrong: boolean): Message {
  switch (failure.reason) {
    case 'unauthorized':
      return failure.code === 'token_expired'
        ? {
            title: 'Your link has expired',
            advice: 'Ask whoever invited you for a new link, and open that one.',
          }
        : {
            title: 'You need an invitation',
            advice: 'This server lets in people with a link of their own only. Ask the host to send you one.',
          };
    case 'forbidden':
      if (needsPin(failure)) {
        return isPinWrong
          ? { title: 'That PIN is wrong', advice: 'Enter the PIN that the host gave you, or ask for it again.' }
          : { title: 'This room has a PIN', advice: 'Enter the PIN that the host gave you.' };
      }
      return failure.code === ONLY_TO_WATCH
        ? {
            title: 'Your link is for watching',
            advice: 'It does not let you go live here. Ask the host for a link that does.',
          }
        : {
            title: 'You are not allowed to do this here',
            advice: 'Your link does not include it, or guests cannot do it on this server. Ask the host for another link.',
          };
    case 'not_found':
      return {
        title: 'There is no such room',
        advice: 'Check the link for a missing letter. The host may also have closed the room.',
      };
    case 'conflict':
      return {
        title: 'That place is taken',
        advice: 'Somebody else is using this name or this link. Choose another name, or close the other page.',
      };
    case 'rejected':
      return {
        title: 'The server cannot work with this browser’s offer',
        advice: 'Update your browser or try another one. If that does not help, tell whoever runs this server what it says below.',
      };
    case 'busy':
      return {
        title: 'The server is busy',
        advice: 'Wait a minute, then try again.',
      };
    case 'unreachable':
      return {
        title: 'The server cannot be reached',
        advice: 'Check your internet connection. If other sites work, the server may be down: try again in a moment.',
      };
    case 'media_blocked':
      return {
        title: 'Your network blocks live video',
        advice: 'The server answers, but picture and sound do not get through, because UDP is blocked. Try another network, such as a phone’s, or turn off your VPN. In an office, ask IT to allow UDP to this server.',
      };
    case 'unsupported':
      return {
        title: 'This browser cannot do live video',
        advice: 'Use a current Chrome, Edge, Firefox or Safari, and make sure that no add-on turns WebRTC off.',
      };
    case 'server_error':
      return {
        title: 'Something went wrong on the server',
        advice: 'Try again in a moment. If it stays like this, tell whoever runs this server what it says below.',
      };
  }
}

/** The exact words behind a failure, unless ours already say all there is. */
export function detailOf(failure: SluiceError): string | undefined {
  if (failure.reason === 'not_found' || failure.code === ONLY_TO_WATCH || needsPin(failure)) return undefined;
  if (failure.status !== undefined) return `The server says: ${failure.message}`;
  return failure.reason === 'server_error' ? `Details: ${failure.message}` : undefined;
}

/** Whether the server asks for a PIN. */
export function needsPin(failure: SluiceError): boolean {
  return failure.reason === 'forbidden' && /pin/.test(failure.code ?? '');
}

/** Plain words for why a device cannot be had. */
export function explainCapture(error: CaptureError, what: 'camera' | 'microphone' | 'both'): Message {
  const device = what === 'both' ? 'camera or microphone' : what;
  switch (error.reason) {
    case 'insecure_origin':
      return {
        title: 'This address is not secure',
        advice: 'Browsers lend out cameras and microphones on secure pages only. Open this page with https://, or as http://localhost on the machine that runs Sluice. Watching works here too.',
      };
    case 'permission_denied':
      return {
        title: what === 'both' ? 'Camera and microphone are blocked' : `The ${device} is blocked`,
        advice: 'Allow it with the camera icon beside the address, then try again. If it is allowed there, look into the privacy settings of your system.',
      };
    case 'not_found':
      return {
        title: `No ${device} was found`,
        advice:
          what === 'both'
            ? 'Plug one in and try again. You can also go live with your screen alone.'
            : 'Plug one in and try again, or go on without it.',
      };
    case 'in_use':
      return {
        title: `The ${device} is in use`,
        advice: 'Close other programs and pages that use it, such as a video call, then try again.',
      };
    case 'unsupported':
      return {
        title: `This browser has no access to a ${device}`,
        advice: 'Use a current Chrome, Edge, Firefox or Safari.',
      };
    case 'unknown':
      return {
        title: `The ${device} did not start`,
        advice: 'Unplug it and plug it in again, or restart the browser.',
      };
  }
}
