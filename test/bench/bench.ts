/**
 * The figures that headscope promises, each against its rival in the same run.
 *
 *   npm run bench [-- --json] [--only token --only prefill] [--repeats 5] [--rivals PYTHON] [--eap-ig FOLDER]
 *
 * PyTorch's and llama.cpp's sides run in the Python given by --rivals or HEADSCOPE_RIVALS (an environment with
 * test/bench/python/requirements.txt); without it those rows have no rival. The EAP-IG package is in no registry: --eap-ig or
 * HEADSCOPE_EAP_IG names a checkout of https://github.com/hannamw/EAP-IG. A ratio is the median over pairs measured in turn.
 * --only measures the rows whose names have one of those texts. With --json the lines go to standard error.
 */
import { parseArgs } from "node:util";
import { modelFile } from "../../backend/models/sources/pull.ts";
import { ownCommand, runChild } from "./children/run.ts";
import { describeMachine, type Machine, thisMachine } from "./machine.ts";
import { type Bench, line, measure, type Row } from "./measure.ts";
import { allRows } from "./rows/index.ts";
import { trainingRows } from "./rows/training.ts";
import { MODEL, Setting } from "./setting.ts";

/** What --json prints. */
interface Report {
  machine: Machine;
  /** Versions of the rivals' packages; empty without them. */
  rivals: Record<string, string>;
  rows: Row[];
}

const { values: args } = parseArgs({
  options: {
    json: { type: "boolean", default: false },
    only: { type: "string", multiple: true },
    repeats: { type: "string", default: "5" },
    rivals: { type: "string" },
    "eap-ig": { type: "string" },
    // Rows of training, in this process: it has the environment of the workers that train.
    training: { type: "boolean", default: false },
  },
});
const gguf = modelFile(MODEL);
if (!gguf) {
  process.stderr.write(`bench: ${MODEL} is not on this machine; run \`headscope models pull ${MODEL}\`\n`);
  process.exit(1);
}
const python = args.rivals ?? process.env["HEADSCOPE_RIVALS"];
const setting = new Setting({ gguf, python, eapIg: args["eap-ig"] ?? process.env["HEADSCOPE_EAP_IG"] });
const machine = await thisMachine();
const report: Report = { machine, rivals: (await setting.rivals?.versions()) ?? {}, rows: [] };
say(describeMachine(report.machine, report.rivals));
const wanted = ({ name, onRequest }: Bench): boolean => args.only?.some((text) => name.includes(text)) ?? !onRequest;
for (const bench of (args.training ? trainingRows(setting) : allRows(setting)).filter(wanted))
  tell(await measure(bench, Number(args.repeats)));
await setting.close();
if (!args.training && trainingRows(setting).some(wanted)) for (const row of trainedApart()) tell(row);
if (args.json) process.stdout.write(`${JSON.stringify(report, null, args.training ? 0 : 2)}\n`);

function tell(row: Row): void {
  report.rows.push(row);
  say(line(row));
}

function say(text: string): void {
  if (!args.training) (args.json ? process.stderr : process.stdout).write(`${text}\n`);
}

function trainedApart(): Row[] {
  const own = ["--training", "--json", "--repeats", args.repeats, ...(python ? ["--rivals", python] : [])];
  const only = (args.only ?? []).map((text) => `--only=${text}`);
  return runChild<Report>(ownCommand("bench", ...own, ...only), { TF_ENABLE_ONEDNN_OPTS: "1" }).rows;
}
