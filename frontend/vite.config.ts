import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

/** The front end: `npm run build` bundles it to dist/web, which the server hands out. */
export default defineConfig({
  root: import.meta.dirname,
  plugins: [svelte()],
  build: { outDir: "../dist/web", emptyOutDir: true, target: "es2022", sourcemap: false, chunkSizeWarningLimit: 1600 },
  server: { proxy: { "/api": process.env["HEADSCOPE_API"] ?? "http://127.0.0.1:4747" } },
});
