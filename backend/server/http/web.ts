import { existsSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import compression from "compression";
import express, { type Request, type RequestHandler, type Response, Router } from "express";
import helmet from "helmet";

/** Folder of the built front end: HEADSCOPE_WEB, else dist/web beside the bundle. */
export function webFolder(): string {
  const override = process.env["HEADSCOPE_WEB"];
  if (override) return resolve(override);
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    if (existsSync(join(folder, "dist", "built.json"))) return join(folder, "dist", "web");
    if (folder === dirname(folder)) return join(process.cwd(), "dist", "web");
  }
}

/** Headers against what a page could be made to do. Styles are set by script in plots, so they may be inline; scripts may not. */
export function securityHeaders(): RequestHandler {
  return helmet({
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        defaultSrc: ["'self'"],
        styleSrc: ["'self'", "'unsafe-inline'"],
        imgSrc: ["'self'", "data:", "blob:"],
        fontSrc: ["'self'", "data:"],
        workerSrc: ["'self'", "blob:"],
        objectSrc: ["'none'"],
        baseUri: ["'none'"],
        formAction: ["'self'"],
        frameAncestors: ["'none'"],
      },
    },
    frameguard: { action: "deny" },
    referrerPolicy: { policy: "no-referrer" },
    strictTransportSecurity: false, // there is no TLS here
  });
}

const COMPRESSIBLE =
  /^(application\/(problem\+)?json|text\/(html|css|javascript|plain|csv)|application\/javascript|image\/svg)/;

/** Compresses documents and programs: not tensors, which do not shrink, nor events, which must not wait. */
export function compress(): RequestHandler {
  return compression({ filter: (_, response) => COMPRESSIBLE.test(String(response.getHeader("content-type") ?? "")) });
}

/** The pages: files as they are, index.html for every other path that a page could have. */
export function pages(folder: string): RequestHandler {
  const router = Router();
  const files = { index: false, redirect: false, dotfiles: "ignore" } as const;
  router.use("/assets", express.static(join(folder, "assets"), { ...files, immutable: true, maxAge: "1y" }));
  router.use(express.static(folder, { ...files, cacheControl: false, setHeaders: (response) => noCache(response) }));
  router.use((request: Request, response: Response) => {
    const isPage = (request.method === "GET" || request.method === "HEAD") && !/\.\w+$|^\/assets\//.test(request.path);
    if (!isPage) return void response.status(404).type("text/plain").send("there is no such file\n");
    if (!existsSync(join(folder, "index.html")))
      return void response
        .status(503)
        .type("text/plain")
        .send("headscope's pages are not built: run npm run build, then reload\n");
    noCache(response);
    response.sendFile("index.html", { root: folder, cacheControl: false });
  });
  return router;
}

/** Asked for again each time, and sent again only where it has changed. */
function noCache(response: Response): void {
  response.setHeader("cache-control", "no-cache");
}
