import type { Command } from "commander";
import { runs } from "../context.ts";
import { withStore } from "../open-store.ts";
import { oneOf } from "../options.ts";

interface RunsExportOptions {
  format: "csv" | "tensorboard";
  out: string;
  force?: boolean;
}

/** Adds `export RUN` to `headscope runs`: a run's curves for other programs. */
export function registerExport(runsCommand: Command): void {
  runs<RunsExportOptions>(
    runsCommand
      .command("export <run>")
      .description("write a run's metrics as a CSV file or a folder for TensorBoard")
      .requiredOption("--format <format>", "csv or tensorboard", oneOf("--format", ["csv", "tensorboard"]))
      .requiredOption("--out <path>", "file (csv) or folder (tensorboard) to write")
      .option("--force", "replace a folder that an earlier export wrote"),
    async (context, { format, out, force }, run) => {
      const curves = await curvesOf(run!);
      const write = format === "csv" ? writeCsv : writeTensorBoard;
      const files = await write(run!, curves, out, { force, signal: context.signal });
      const points = [...curves.values()].reduce((sum, curve) => sum + curve.length, 0);
      await context.print({ run, format, path: out, files, metrics: curves.size, points }, () =>
        [
          `${points} values of ${curves.size} metrics of ${run} are written to ${out}.`,
          ...(format === "tensorboard" ? [`See them with: tensorboard --logdir ${out}`] : []),
        ].join("\n"),
      );
    },
  );
}

type Curves = import("../../training/record/curves.ts").Curves;
type Options = import("../../exports/index.ts").ExportOptions;

function curvesOf(run: string): Promise<Curves> {
  return withStore((store) => {
    store.run(run); // an unknown one is an error; one without metrics is not
    return store.metrics(run);
  });
}

async function writeCsv(_: string, curves: Curves, out: string): Promise<readonly string[]> {
  const [{ curvesCsv }, { refuseFolder }, { writeFileAtomic }] = await Promise.all([
    import("../../training/record/csv.ts"),
    import("../../exports/folder.ts"),
    import("../../paths.ts"),
  ]);
  await refuseFolder(out);
  await writeFileAtomic(out, curvesCsv(curves));
  return [out];
}

async function writeTensorBoard(
  run: string,
  curves: Curves,
  out: string,
  options: Options,
): Promise<readonly string[]> {
  const [{ writeEvents }, { writeFolder }, { initBackend }] = await Promise.all([
    import("../../training/record/tensorboard.ts"),
    import("../../exports/folder.ts"),
    import("../../runtime/backend.ts"),
  ]);
  await initBackend();
  const { files } = await writeFolder(out, options, async (folder) => {
    await writeEvents(folder, run, curves);
  });
  return files;
}
