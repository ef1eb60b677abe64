import { readdir, rename } from "node:fs/promises";
import { join } from "node:path";
import type { Scalar } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import { hasNative, rawEffect } from "../../runtime/ops.ts";
import { tf } from "../../runtime/tf.ts";
import type { Curves } from "./curves.ts";

/** tfjs-node's own writer of event files, which tfjs's types do not know. */
interface SummaryWriter {
  readonly resourceHandle: Scalar;
  scalar(name: string, value: number, step: number): void;
  flush(): void;
}

/** Records kept in memory between writes. */
const QUEUE = 1000;
/** Milliseconds between writes; all is written at the end, whatever this is. */
const FLUSH_EVERY = 60_000;

/**
 * Writes a run's measurements as a TensorBoard event file, by tfjs-node's writer: a scalar summary a point, its tag the metric's
 * name, values rounded to float32. The records' wall time is that of the export, so plot against steps.
 * @param folder an empty folder, which TensorBoard can then be pointed at
 * @param label what the file's name ends with, such as the run's id; the same label gives the same name
 * @returns the file's name
 * @throws HeadscopeError `unsupported` where the native backend is not in use: the writer is part of it
 */
export async function writeEvents(folder: string, label: string, curves: Curves): Promise<string> {
  if (!hasNative())
    throw new HeadscopeError("unsupported", `event files need the native backend, and this is ${tf.getBackend()}`, {
      remedy: "see `headscope doctor`, or export CSV",
    });
  const { summaryFileWriter } = (tf as unknown as { node: { summaryFileWriter(...args: unknown[]): SummaryWriter } })
    .node;
  tf.tidy(() => {
    const writer = summaryFileWriter(folder, QUEUE, FLUSH_EVERY);
    for (const [name, curve] of curves) {
      for (const { step, value } of curve) writer.scalar(name, value, step);
    }
    writer.flush();
    rawEffect("CloseSummaryWriter", [], [writer.resourceHandle]); // the package has no close: the file would stay open
  });
  const [written] = await readdir(folder);
  const name = `events.out.tfevents.0.${label}`; // TensorBoard asks for "tfevents"; its own has time, host and process
  await rename(join(folder, written!), join(folder, name));
  return name;
}
