import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll } from "vitest";
import { openStore, type Store } from "../../../backend/store/store.ts";
import { buildCli } from "../cli.ts";

/** A store in a data folder of its own, for the tests of a `describe`: open before them, gone behind them. */
export function ownStore(): { readonly store: Store } {
  const before = process.env["HEADSCOPE_HOME"];
  const own = {} as { folder: string; store: Store };
  beforeAll(async () => {
    await buildCli();
    own.folder = await mkdtemp(join(tmpdir(), "headscope-"));
    process.env["HEADSCOPE_HOME"] = own.folder;
    own.store = openStore({ folder: own.folder });
  });
  afterAll(async () => {
    own.store.close();
    if (before === undefined) delete process.env["HEADSCOPE_HOME"];
    else process.env["HEADSCOPE_HOME"] = before;
    await rm(own.folder, { recursive: true });
  });
  return own;
}
