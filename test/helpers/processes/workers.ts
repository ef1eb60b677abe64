import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll } from "vitest";
import type { ModelConfig } from "../../../backend/models/config.ts";
import { writeRunCheckpoint } from "../../../backend/models/sources/run-checkpoint.ts";
import { initialParameters, parameterLayout } from "../../../backend/models/weights/trainable.ts";
import { checkpointFile } from "../../../backend/paths.ts";
import { loopTurn } from "../../../backend/runtime/turn.ts";
import { answer, type Reply } from "../../../backend/workers/handler.ts";
import { ownHandler } from "../../../backend/workers/requests/index.ts";

/** A data folder of the test file's own, as HEADSCOPE_HOME. @returns where it is, once the tests run */
export function ownDataFolder(): { readonly path: string } {
  const home = process.env["HEADSCOPE_HOME"];
  const folder = { path: "" };
  beforeAll(() => {
    folder.path = mkdtempSync(join(tmpdir(), "headscope-workers-"));
    process.env["HEADSCOPE_HOME"] = folder.path;
  });
  afterAll(() => {
    rmSync(folder.path, { recursive: true });
    if (home === undefined) delete process.env["HEADSCOPE_HOME"];
    else process.env["HEADSCOPE_HOME"] = home;
  });
  return folder;
}

/** Saves a model of this config with random weights, large enough that attention is far from uniform, as a run's step. */
export async function saveRandomRun(id: string, step: number, config: ModelConfig, seed = 1): Promise<void> {
  const parameters = initialParameters(parameterLayout(config, 3), seed);
  await writeRunCheckpoint(checkpointFile(id, step), { step, seed, config, spec: {}, parameters, vectors: [] });
}

/** Outcome of a handler. */
export interface Handled<T> {
  readonly value: T;
  readonly events: unknown[];
}

/** Has one of headscope's handlers do a request in this process. */
export async function handled<T>(
  kind: string,
  payload: unknown,
  options: { signal?: AbortSignal; onEvent?: (event: unknown) => void } = {},
): Promise<Handled<T>> {
  const events: unknown[] = [];
  const value = await answer(kind, await ownHandler(kind), payload, {
    emit: async (event) => {
      events.push(event);
      options.onEvent?.(event);
    },
    later: () => {},
    turn: loopTurn(options.signal),
    signal: options.signal ?? new AbortController().signal,
    body: new Uint8Array(0),
  });
  return { value: value as T, events };
}

/** The tensor of a reply, read independently of headscope's own reader: header length, JSON, data. */
export function tensorOf({ body }: Reply): { name: string; dtype: string; shape: number[]; values: number[] } {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  const length = Number(view.getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(body.subarray(8, 8 + length))) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  const [name, { dtype, shape, data_offsets }] = Object.entries(header).find(([key]) => key !== "__metadata__")!;
  const [begin, end] = data_offsets.map((at) => at + 8 + length) as [number, number];
  const values: number[] = [];
  for (let at = begin; at < end; at += dtype === "F16" ? 2 : 4)
    values.push(dtype === "F16" ? halfAt(view, at) : view.getFloat32(at, true));
  return { name, dtype, shape, values };
}

function halfAt(view: DataView, at: number): number {
  const bits = view.getUint16(at, true);
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15));
}

/** Largest absolute difference of two lists of one length. */
export function apart(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) throw new Error(`${a.length} numbers and ${b.length}`);
  let worst = 0;
  for (let i = 0; i < a.length; i++) worst = Math.max(worst, Math.abs(a[i]! - b[i]!));
  return worst;
}
