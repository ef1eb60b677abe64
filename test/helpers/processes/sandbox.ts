import { createHash } from "node:crypto";
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, vi } from "vitest";
import type { HeadscopeError } from "../../../backend/common/errors.ts";
import { failure } from "../errors.ts";

/** Text that nobody may read, copy or change: it stands in every file of a sandbox's outside. */
export const SECRET = "the-secret-of-another-folder";

/** A folder of a test, with an outside whose files are nobody's business. */
export interface Sandbox {
  /** Folder in which the test works. */
  readonly inside: string;
  /** Files precious.gguf, secret.txt and secret.json, and folder/ with secret.txt, config.json and main. */
  readonly outside: string;
  /** Every file, folder and link of the outside with its content; the same text as long as nothing has changed. */
  outsideNow(): string;
  remove(): void;
}

/** Makes a sandbox. */
export function makeSandbox(): Sandbox {
  const root = mkdtempSync(join(tmpdir(), "headscope-sandbox-"));
  const [inside, outside] = [join(root, "inside"), join(root, "outside")];
  mkdirSync(inside);
  mkdirSync(join(outside, "folder"), { recursive: true });
  for (const name of ["precious.gguf", "secret.txt", "folder/secret.txt", "folder/main"])
    writeFileSync(join(outside, name), `${SECRET} ${name}\n`);
  for (const name of ["secret.json", "folder/config.json"])
    writeFileSync(join(outside, name), JSON.stringify({ secret: SECRET, padding: "x".repeat(64) }));
  return {
    inside,
    outside,
    outsideNow: () => photo(root, inside).join("\n"),
    remove: () => rmSync(root, { recursive: true, force: true }),
  };
}

/** One line for each thing below a folder, with its content. @param without a folder that is left out */
export function photo(folder: string, without?: string): string[] {
  return readdirSync(folder)
    .sort()
    .flatMap((name) => {
      const path = join(folder, name);
      const found = lstatSync(path);
      if (found.isSymbolicLink()) return [`${path} -> ${readlinkSync(path)}`];
      if (found.isDirectory()) return path === without ? [] : [path, ...photo(path, without)];
      const content = found.isFile() ? createHash("sha256").update(readFileSync(path)).digest("hex") : "special";
      return [`${path} ${content}`];
    });
}

/** A sandbox of each test's own, which holds the cache of hub models; after each test its outside must be as it was. */
export function ownSandbox(): Sandbox {
  const box = {} as Sandbox;
  let before = "";
  beforeEach(() => {
    Object.assign(box, makeSandbox());
    before = box.outsideNow();
    for (const name of ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
      vi.stubEnv(name, "");
    vi.stubEnv("HF_HOME", box.inside);
  });
  afterEach(() => {
    expect(box.outsideNow()).toBe(before);
    vi.unstubAllEnvs();
    box.remove();
  });
  return box;
}

/** The error that work ends in: headscope's own, with nothing of a sandbox's outside in it. */
export async function refusal(work: Promise<unknown>): Promise<HeadscopeError> {
  const error = await failure(() => work);
  expect(error.remedy).toMatch(/./);
  for (let part = 0; part + 12 <= SECRET.length; part++)
    expect(JSON.stringify([error.message, error.remedy])).not.toContain(SECRET.slice(part, part + 12));
  return error;
}
