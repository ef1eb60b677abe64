import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CacheForm } from "../../../backend/models/cache/forms/form.ts";
import { KvCache } from "../../../backend/models/cache/kv-cache.ts";
import { Children, ownCommand, pythonCommand, runChild, type Side } from "../children/run.ts";
import { writeMadeUp } from "../made-up.ts";
import type { Bench } from "../measure.ts";
import { MODEL, type Setting } from "../setting.ts";
import { KIVI, SHARES, windowsOf } from "./decode.ts";

/** What a process that loads a model says (children/load.ts, load_model.py). */
interface Loaded {
  loadMs: number;
  firstMs: number;
  peakBytes: number;
}

/** Tokens of the prompt whose decoding is looked at. */
const LONG = 7900;

/** Memory, and loading. Peaks are what a process of its own held at most, as its own status says. */
export function memoryRows(setting: Setting): Bench[] {
  const kvBytes = (oneIn?: number) => async () => {
    const { config } = await setting.model("q8");
    const cache = new KvCache(config, { capacity: LONG + 36, ...(oneIn ? { windows: windowsOf(config, oneIn) } : {}) });
    cache.prepare(LONG + 36);
    const { bytes } = cache;
    cache.dispose();
    return bytes / 1e6;
  };
  const codedBytes = (form?: CacheForm) => async () => {
    const { config } = await setting.model("q8");
    const cache = new KvCache(config, { capacity: LONG + 36, form });
    cache.prepare(LONG + 36);
    cache.advance(LONG + 36);
    cache.encode();
    const { bytes } = cache;
    cache.dispose();
    return bytes / 1e6;
  };
  return [
    {
      name: `KV bytes at ${LONG}, kivi of 4 bits`, unit: "MB", rival: "f32 cache", goal: 0.3,
      ours: codedBytes(KIVI), theirs: codedBytes(),
    },
    ...SHARES.map(({ name, oneIn, bytes }) => ({
      name: `KV bytes at ${LONG}, ${name} of the KV heads full`, unit: "MB", rival: "all heads full", goal: bytes,
      ours: kvBytes(oneIn), theirs: kvBytes(),
    })),
    ...(["f32", "bf16"] as const).flatMap((weights) => loadRows(setting, weights)),
    ...decodePeaks(setting),
    {
      name: "peak memory of a 1.7B checkpoint, bf16", unit: "GB", rival: "8 GB", goal: 1, onRequest: true,
      ours: () => largePeak(512), theirs: () => 8,
    },
  ]; // biome-ignore format: a table
}

/** Loads of the model by both sides, each in a process of its own; time and memory are of the same run. */
function loadRows({ given: { python, gguf } }: Setting, weights: "f32" | "bf16"): Bench[] {
  const dtype = weights === "f32" ? "float32" : "bfloat16";
  const loads = new Children<Loaded>({
    ours: ownCommand("bench-load", MODEL, "--weights", weights),
    theirs: python ? pythonCommand(python, "load_model.py", gguf, "--dtype", dtype) : undefined,
  });
  const rival = `transformers ${weights}`;
  const peak = (side: Side): number | undefined => megabytes(loads.last(side)?.peakBytes);
  return [
    {
      name: `load, ${weights} weights`, unit: "ms", rival, goal: 1,
      ours: () => loads.fresh("ours")!.loadMs, theirs: () => loads.fresh("theirs")?.loadMs,
    },
    {
      name: `load, peak memory, ${weights} weights`, unit: "MB", rival, goal: 1,
      ours: () => peak("ours")!, theirs: () => peak("theirs"),
    },
  ]; // biome-ignore format: a table
}

/** Peaks of processes that decode a few tokens behind a long prompt, which ours reads or finds cached. */
function decodePeaks({ given: { python, gguf } }: Setting): Bench[] {
  const length = ["--length", `${LONG}`];
  const own = ["--weights", "q8", "--cache", "f16", ...length];
  const theirs = python ? pythonCommand(python, "decode_model.py", gguf, ...length) : undefined;
  const row = (what: string, ...more: string[]): Bench => {
    const decodes = new Children<{ peakBytes: number }>({
      ours: ownCommand("bench-decode", MODEL, ...own, ...more),
      theirs,
    });
    return {
      name: `peak memory, ${what} ${LONG} in an f16 cache and a few tokens more`, unit: "MB", rival: "llama.cpp built here", atMost: 700, once: true,
      ours: () => megabytes(decodes.fresh("ours")!.peakBytes)!, theirs: () => megabytes(decodes.fresh("theirs")?.peakBytes),
    }; // biome-ignore format: a row
  };
  return [row("a prompt of"), row("given", "--given")];
}

function megabytes(bytes: number | undefined): number | undefined {
  return bytes === undefined ? undefined : bytes / 1e6;
}

/** The most memory, in GB, that opening a made-up checkpoint of SmolLM2-1.7B's shape takes, with logits of some tokens. */
function largePeak(tokens: number): number {
  const folder = mkdtempSync(join(tmpdir(), "headscope-bench-"));
  try {
    writeMadeUp(folder);
    const load = ownCommand("bench-load", folder, "--weights", "bf16", "--tokens", `${tokens}`);
    return runChild<Loaded>(load).peakBytes / 1e9;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
