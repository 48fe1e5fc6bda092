import { defineConfig } from "vite";

// The output folder is named by the project's build.
export default defineConfig({
  base: "/",
  build: { target: "es2022", emptyOutDir: true, assetsInlineLimit: 0, modulePreload: false },
  // For development: `npx vite` beside a service at its default address.
  server: { proxy: { "/v1": "http://127.0.0.1:8470" } },
});
