// Proves that `dist` is what the sources build: builds into a folder of its
// own and compares every byte. Ends with status 1 and the names that differ.
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

import { build } from 'vite';

const web = fileURLToPath(new URL('..', import.meta.url));
const fresh = await mkdtemp(join(tmpdir(), 'sluice-web-'));
try {
  await build({ root: web, logLevel: 'warn', build: { outDir: fresh, emptyOutDir: true } });
  const committed = await contents(join(web, 'dist'));
  const built = await contents(fresh);
  const differing = [...new Set([...committed.keys(), ...built.keys()])]
    .filter((name) => committed.get(name) !== built.get(name))
    .sort();
  for (const name of differing) console.error(`dist/${name} is not what the sources build`);
  if (differing.length > 0) {
    console.error('run `npm ci && npm run build` in controlplane/web and commit dist');
    process.exitCode = 1;
  } else {
    console.log(`dist is what the sources build (${built.size} files)`);
  }
} finally {
  await rm(fresh, { recursive: true });
}

/** Every file under a folder, by its path there; bytes as latin1, one character each. */
async function contents(folder) {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return new Map(
    await Promise.all(files.map(async (file) => [relative(folder, file), await readFile(file, 'latin1')])),
  );
}
