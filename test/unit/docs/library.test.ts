import { beforeAll, describe, expect, it } from "vitest";
import * as headscope from "../../../backend/index.ts";
import { blocksOf, readPage } from "../../helpers/docs.ts";

const page = readPage("docs/library.md");

beforeAll(async () => void (await headscope.initBackend()));

/** Runs a block of the page with what it imports. @returns what it would have printed */
async function run(code: string): Promise<unknown[][]> {
  const printed: unknown[][] = [];
  const body = code.replace(/import \{([^}]*)\} from "headscope";/, "const {$1} = headscope;");
  const AsyncFunction = Object.getPrototypeOf(async () => {}).constructor as new (
    ...args: string[]
  ) => (...args: unknown[]) => Promise<void>;
  await new AsyncFunction("headscope", "console", body)(headscope, { log: (...what: unknown[]) => printed.push(what) });
  return printed;
}

describe("docs/library.md", () => {
  const blocks = [
    "docs/library.md",
    "docs/texts.md",
    "docs/generation.md",
    "docs/policies.md",
    "docs/gates.md",
    "docs/cost.md",
  ].flatMap((name) =>
    blocksOf(name).flatMap(({ language, code }, i) => (language === "js" ? [[name, i, code] as const] : [])),
  );

  it.each(blocks)("%s: block %i runs as it stands there", async (_, __, code) => {
    const before = headscope.tf.memory().numTensors;
    const printed = await run(code);
    expect(printed.flat().length).toBeGreaterThan(0);
    for (const value of printed.flat()) expect(value).not.toBeNaN();
    expect(headscope.tf.memory().numTensors).toBeGreaterThanOrEqual(before); // the model's own weights stay
  });

  it("names every function and class that the library exports, but the machinery", () => {
    const MACHINERY = ["HeadscopeError", "initBackend", "Random", "PROCESSING", "PATCH_DIRECTIONS", "PATCH_METHODS", "PATCH_NODES", "PATCH_PLACES", "PATH_ENDS", "PATH_MLPS", "probes", "pullHubModel", "pullModel", "readOracle", "runsFor", "verifyModel"]; // biome-ignore format: a list
    const missing = Object.keys(headscope).filter((name) => !MACHINERY.includes(name) && !page.includes(name));
    expect(missing).toEqual([]);
  });
});
