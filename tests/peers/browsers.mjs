// Drives real browsers. Takes one command a line on standard input, answers each with one line:
// `{"id", "result"}` or `{"id", "error"}`. Every page is a browser of its own with a fresh profile, so that nothing is
// shared between those who publish and those who watch.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import { chromium } from 'playwright-core';
import puppeteer from 'puppeteer-core';

const CHROMIUM = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--disable-dev-shm-usage',
  '--autoplay-policy=no-user-gesture-required',
  '--disable-features=OptimizationHints,MediaRouter',
];
/** What a computer has, and what a phone in the hand. */
const DESK = { viewport: { width: 1280, height: 800 } };
const PHONE = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 3, isMobile: true, hasTouch: true };
const DEVICES = { permissions: ['camera', 'microphone'] };
const ALLOWED = '--use-fake-ui-for-media-stream';
const CAMERA = '--use-fake-device-for-media-stream';
const FIREFOX = {
  'media.navigator.permission.disabled': true,
  'media.navigator.streams.fake': true,
  'media.autoplay.default': 0,
};

/**
 * Runs in every page before its own scripts: keeps the connections that the page makes, where statistics can be read,
 * and a mark that a reload would lose.
 */
function beforeScripts() {
  const Native = globalThis.RTCPeerConnection;
  const watched = { mark: Math.random(), connections: [] };
  Object.defineProperty(globalThis, 'watched', { value: watched });
  globalThis.RTCPeerConnection = class extends Native {
    constructor(...parameters) {
      super(...parameters);
      watched.connections.push(this);
    }
  };
}

/** Runs in a page: everything that a test compares about its newest connection. */
async function measure() {
  const connection = watched.connections.at(-1);
  const found = { mark: watched.mark, connections: watched.connections.length };
  if (connection === undefined) return found;
  const stats = [...(await connection.getStats()).values()];
  const stream = (type, kind) => {
    const all = stats.filter((entry) => entry.type === type && entry.kind === kind);
    // Firefox lists one more for RTX, which never decodes.
    return all.sort((a, b) => (b.packetsReceived ?? b.packetsSent ?? 0) - (a.packetsReceived ?? a.packetsSent ?? 0))[0];
  };
  const transport = stats.find((entry) => entry.type === 'transport');
  const pair =
    stats.find((entry) => entry.id === transport?.selectedCandidatePairId) ??
    stats.find((entry) => entry.type === 'candidate-pair' && entry.selected) ??
    stats.find((entry) => entry.type === 'candidate-pair' && entry.state === 'succeeded');
  const codecOf = (entry) => stats.find((other) => other.id === entry?.codecId)?.mimeType;
  const [video, audio] = [stream('inbound-rtp', 'video'), stream('inbound-rtp', 'audio')];
  return {
    ...found,
    state: connection.connectionState,
    local: connection.localDescription?.sdp,
    remote: connection.remoteDescription?.sdp,
    pair: pair?.id,
    video,
    videoCodec: codecOf(video),
    audio,
    sentVideo: stream('outbound-rtp', 'video'),
    sentVideoCodec: codecOf(stream('outbound-rtp', 'video')),
    sentAudio: stream('outbound-rtp', 'audio'),
  };
}

const pages = new Map();

const commands = {
  async open({ page, browser, url }) {
    const opened = await open[browser]();
    pages.set(page, opened);
    opened.view.on('console', (message) => console.error(`${page}: ${message.text()}`));
    opened.view.on('pageerror', (error) => console.error(`${page}: ${error}`));
    await opened.view.goto(url);
  },
  async goto({ page, url }) {
    await pages.get(page).view.goto(url);
  },
  async evaluate({ page, script }) {
    return pages.get(page).view.evaluate(script);
  },
  async click({ page, selector }) {
    await pages.get(page).view.waitForSelector(`${selector}:not([disabled])`, { timeout: 20_000 });
    await pages.get(page).view.click(selector);
  },
  async type({ page, selector, text }) {
    await pages.get(page).view.type(selector, text);
  },
  async press({ page, key }) {
    await pages.get(page).view.keyboard.press(key);
  },
  async write({ page, text }) {
    await pages.get(page).view.keyboard.type(text);
  },
  async measure({ page }) {
    return pages.get(page).view.evaluate(measure);
  },
  async screenshot({ page, path }) {
    await pages.get(page).view.screenshot({ path });
  },
  async close({ page }) {
    const opened = pages.get(page);
    pages.delete(page);
    await opened.close();
  },
};

/** Runs in a page before its own scripts: a camera of that size and rate, so that two cores encode what it gives. */
function camera(size) {
  const devices = MediaDevices.prototype;
  const native = devices.getUserMedia;
  devices.getUserMedia = function ({ video, audio }) {
    return native.call(this, { video: typeof video === 'object' ? { ...video, ...size } : video, audio });
  };
}

/** Several of these fit on two cores. */
const SMALL = { width: 640, height: 360, frameRate: 10 };
/** As large as the page asks for, and half as many pictures. */
const LARGE = { width: 1280, height: 720, frameRate: 15 };

const open = {
  chromium: () => openChromium([ALLOWED, CAMERA], { ...DESK, ...DEVICES }),
  'chromium-without-devices': () => openChromium([ALLOWED], { ...DESK, ...DEVICES }),
  'chromium-that-refuses': () => openChromium([`${ALLOWED}=deny`, CAMERA], DESK),
  'chromium-with-a-small-camera': () => openChromium([ALLOWED, CAMERA], { ...DESK, ...DEVICES }, [camera, SMALL]),
  'chromium-with-a-large-camera': () => openChromium([ALLOWED, CAMERA], { ...DESK, ...DEVICES }, [camera, LARGE]),
  'chromium-on-a-phone': () => openChromium([ALLOWED, CAMERA], { ...PHONE, ...DEVICES }),
  firefox: () => openFirefox(),
  'firefox-with-a-small-camera': () => openFirefox([camera, SMALL]),
};

async function openChromium(args, options, ...scripts) {
  const profile = await mkdtemp(join(tmpdir(), 'sluice-chromium-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: '/usr/bin/chromium',
    args: [...CHROMIUM, ...args],
    ...options,
  });
  for (const [script, argument] of [[beforeScripts], ...scripts]) await context.addInitScript(script, argument);
  const view = context.pages()[0] ?? (await context.newPage());
  return { view, close: () => context.close().finally(() => rm(profile, { recursive: true, force: true })) };
}

async function openFirefox(...scripts) {
  const browser = await puppeteer.launch({
    browser: 'firefox',
    executablePath: '/usr/bin/firefox-esr',
    headless: true,
    extraPrefsFirefox: FIREFOX,
  });
  const view = await browser.newPage();
  await view.setViewport(DESK.viewport);
  for (const [script, ...parameters] of [[beforeScripts], ...scripts]) await view.evaluateOnNewDocument(script, ...parameters);
  return { view, close: () => browser.close() };
}

async function handle(line) {
  const { id, command, ...rest } = JSON.parse(line);
  try {
    const result = (await commands[command](rest)) ?? null;
    console.log(JSON.stringify({ id, result }));
  } catch (error) {
    console.log(JSON.stringify({ id, error: String(error?.stack ?? error) }));
  }
}

const running = new Set();
for await (const line of createInterface({ input: process.stdin })) {
  const task = handle(line).finally(() => running.delete(task));
  running.add(task);
}
await Promise.allSettled(running);
await Promise.allSettled([...pages.values()].map((opened) => opened.close()));
process.exit(0);
