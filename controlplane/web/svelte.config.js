import { vitePreprocess } from '@sveltejs/vite-plugin-svelte';

export default {
  preprocess: vitePreprocess(),
  compilerOptions: {
    // By default the hash covers the file's path, which differs by machine.
    cssHash: ({ hash, css }) => `s-${hash(css)}`,
  },
};
