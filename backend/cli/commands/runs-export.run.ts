import type { ExportOptions } from "../../exports/export.ts";
import { writeFile, writeFolder } from "../../exports/folder.ts";
import { initBackend } from "../../runtime/backend.ts";
import { type Curves, curvesCsv } from "../../training/record/curves.ts";
import { writeEvents } from "../../training/record/tensorboard.ts";
import type { Context } from "../context.ts";
import { withStore } from "../store.ts";

interface RunsExportOptions {
  format: "csv" | "tensorboard";
  out: string;
  force?: boolean;
}

/** Writes a run's curves as CSV or for TensorBoard. */
export async function exportRun(
  context: Context,
  { format, out, force }: RunsExportOptions,
  run: string,
): Promise<void> {
  const curves = await curvesOf(run);
  const write = format === "csv" ? writeCsv : writeTensorBoard;
  const files = await write(run, curves, out, { force, signal: context.signal });
  const points = [...curves.values()].reduce((sum, curve) => sum + curve.length, 0);
  await context.print({ run, format, path: out, files, metrics: curves.size, points }, () =>
    [
      `${points} values of ${curves.size} metrics of ${run} are written to ${out}.`,
      ...(format === "tensorboard" ? [`See them with: tensorboard --logdir ${out}`] : []),
    ].join("\n"),
  );
}

function curvesOf(run: string): Promise<Curves> {
  return withStore((store) => {
    store.run(run); // an unknown one is an error; one without metrics is not
    return store.metrics(run);
  });
}

async function writeCsv(_: string, curves: Curves, out: string): Promise<readonly string[]> {
  return (await writeFile(out, () => curvesCsv(curves))).files;
}

async function writeTensorBoard(
  run: string,
  curves: Curves,
  out: string,
  options: ExportOptions,
): Promise<readonly string[]> {
  await initBackend();
  const { files } = await writeFolder(out, options, async (folder) => {
    await writeEvents(folder, run, curves);
  });
  return files;
}
