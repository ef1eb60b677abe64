import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, expect } from "vitest";
import { HeadscopeError } from "../../../backend/common/errors.ts";
import { openStore, type Store, type StoreOptions } from "../../../backend/store/store.ts";
import { trainSpec } from "../training/specs.ts";

/** A training's specification that is kept as it is. */
export const SPEC = trainSpec({ params: { length: 8 }, model: { d_model: 64 }, training: { steps: 100 } });

/** Stores of a test file's own, closed after each test, in data folders that go with the file. */
export function ownStores() {
  const base = mkdtempSync(join(tmpdir(), "headscope-store-"));
  const open: Store[] = [];
  let count = 0;
  afterEach(() => {
    for (const store of open.splice(0)) store.close();
  });
  afterAll(() => rmSync(base, { recursive: true, force: true }));
  /** A data folder that is not there yet. */
  const newFolder = () => join(base, `home-${count++}`);
  return {
    base,
    newFolder,
    store(folder = newFolder(), options: Omit<StoreOptions, "folder"> = {}): Store {
      const opened = openStore({ folder, ...options });
      open.push(opened);
      return opened;
    },
  };
}

/** The line of the error that work throws. */
export function lineOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    expect(error).toBeInstanceOf(HeadscopeError);
    return (error as HeadscopeError).line;
  }
  throw new Error("nothing was thrown");
}
