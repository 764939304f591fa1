import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';

// The built files are committed, so a build has to give the same bytes on
// every machine: names come from the content alone, and nothing that depends
// on the time, the folder or the machine goes in.
export default defineConfig({
  plugins: [svelte()],
  build: {
    target: 'es2022',
    outDir: 'dist',
    emptyOutDir: true,
    assetsDir: 'assets',
    assetsInlineLimit: 0,
    sourcemap: false,
    reportCompressedSize: false,
    modulePreload: { polyfill: false },
  },
  server: {
    // `npm run dev` shows the page with hot reload in front of a Sluice that
    // listens on its default port.
    proxy: Object.fromEntries(
      ['/api', '/whip', '/whep', '/ws'].map((path) => [path, { target: 'http://127.0.0.1:8080', ws: path === '/ws' }]),
    ),
  },
  test: {
    include: ['test/**/*.test.ts'],
    environment: 'node',
  },
});
