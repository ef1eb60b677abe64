import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

const API = process.env["HEADSCOPE_API"] ?? "http://127.0.0.1:4747";

/** The front end: `npm run build` bundles it to dist/web, which the server hands out. */
export default defineConfig({
  root: import.meta.dirname,
  plugins: [svelte()],
  build: { outDir: "../dist/web", emptyOutDir: true, target: "es2022", sourcemap: false, chunkSizeWarningLimit: 1600 },
  // The server answers to its own pages alone: to it, those of `vite frontend` are such. Cookies know no ports, so that opening
  // the address that headscope prints lets them in as well.
  server: { host: "127.0.0.1", proxy: { "/api": { target: API, changeOrigin: true, headers: { origin: API } } } },
});
