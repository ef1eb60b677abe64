import { join, relative } from "node:path";
import { formatHead } from "../../common/heads/head.ts";
import { meaningOf } from "../../common/heads/meaning.ts";
import { mainMetric } from "../../common/heads/metric.ts";
import { counted, signed } from "../../common/text.ts";
import { bold, bytes, count, dim, duration, number, quoted, right, table } from "../text/format.ts";
import { searchText } from "../text/mask.ts";
import { sparkline } from "../text/runs.ts";
import { topHeads } from "../text/scores.ts";
import type { MainJobResult, Sizes } from "./result.ts";
import type { AblatedToy, ToyTraining } from "./training.ts";

const SHOWN = 6;
const WIDTH = 44;

/** The parts of the main job's report, each a paragraph. */
export const sections = { training, head, scores, ablation, sentence, needle, files };

function training(toy: ToyTraining): string {
  const origin = toy.trainMs === undefined ? "trained before" : `trained in ${duration(toy.trainMs)}`;
  const curves = Object.entries(toy.curves).map(([name, points]) => [
    name,
    `${number(points[0]!.value, 2)} to ${number(points.at(-1)!.value, 2)}`,
    sparkline(points.map(({ value }) => value)),
    (toy.formed[name] ?? []).map((head) => `${formatHead(head)} ${number(head.score, 2)}`).join("  "),
  ]);
  const [all, ...without] = toy.ablations as [AblatedToy, ...AblatedToy[]];
  const losses = [
    ["all heads", number(all.loss, 2), "", ""],
    ...without.map(({ without: what, heads, loss }) => [
      `${what} zeroed`,
      number(loss, 2),
      signed(loss - all.loss, 2),
      heads.map(formatHead).join(" "),
    ]),
  ];
  return [
    bold("A toy transformer learns to copy"),
    dim(
      `  ${toy.run}: ${toy.layers} layers of ${toy.heads} heads, width ${toy.width}; ${count(toy.steps)} steps on ${toy.context} tokens, some repeated, ${origin}${toy.halfway === undefined ? "" : `; half of its in-context accuracy by step ${count(toy.halfway)}`}`,
    ),
    table(["", "", "over log steps", "heads that formed"], curves, "  "),
    table(["", right("loss"), right(""), ""], losses, "  "),
    "",
  ].join("\n");
}

function head(backend: MainJobResult["backend"], model: MainJobResult["model"], sizes: Sizes): string {
  const library = backend.library === undefined ? backend.why : `TensorFlow ${backend.library}`;
  const smaller =
    backend.name === "wasm"
      ? [
          dim(
            `  sizes for wasm: ${sizes.rows} rows of ${2 * sizes.length + 1} tokens, haystacks of ${sizes.haystack}, a question of ${sizes.needle}`,
          ),
        ]
      : [];
  return [
    `${bold(model.ref)}: ${model.layers} layers of ${model.heads} heads and ${model.kvHeads} KV heads, ${bytes(model.bytes)}, loaded in ${duration(model.loadMs)}`,
    dim(`  on ${backend.name} (${library}), ${counted(backend.threads, "thread")}`),
    ...smaller,
    "",
  ].join("\n");
}

function scores(all: MainJobResult["scores"], ms: MainJobResult["probeMs"], sizes: Sizes): string {
  const rows = Object.entries(all).map(([name, each]) => [name, topHeads(mainMetric(each).values, SHOWN)]);
  const how = `four probes in one pass over ${sizes.rows} x ${2 * sizes.length + 1} tokens in ${duration(ms.onePass)}, retrieval on ${counted(sizes.depths.length * sizes.needles, "haystack")} of ${sizes.haystack} tokens in ${duration(ms.retrieval)}`;
  return [bold("Which heads do what"), dim(`  ${how}; LAYER.HEAD score`), table(["", ""], rows, "  "), ""].join("\n");
}

function ablation({ heads, clean, ablated, control }: MainJobResult["ablation"]): string {
  const row = (name: string, loss: typeof clean, note = "") => [
    name,
    number(loss.secondCopy, 2),
    loss === clean ? "" : signed(loss.secondCopy - clean.secondCopy, 2),
    note,
  ];
  const [low, high] = control.range;
  const rows = [
    row("all heads", clean),
    row(
      `best ${heads.length === 1 ? "induction head" : `${heads.length} induction heads`} zeroed`,
      ablated,
      heads.map(formatHead).join(" "),
    ),
    row(
      `${counted(heads.length, "other head")} of these layers`,
      control.mean,
      `${counted(control.draws, "draw")}, ${number(low, 2)} to ${number(high, 2)}`,
    ),
  ];
  return [
    bold("Are the induction heads needed?"),
    dim("  loss on the second copy of repeated random tokens, nats a token"),
    table(["", right("loss"), right(""), ""], rows, "  "),
    "",
  ].join("\n");
}

function sentence({ prompt, continuation }: MainJobResult["sentence"]): string {
  return [
    bold("A sentence goes on"),
    `  ${prompt}${dim("|")}${continuation.trimEnd().replace(/\s*\n\s*/g, "\n  ")}`,
    "",
  ].join("\n");
}

function needle({ question, mask, search, full, masked }: MainJobResult["needle"]): string {
  const { layers, kvHeads } = mask.model;
  const fullCount = meaningOf(mask).full.length;
  const answers = [full, masked];
  const verdict = (answer: typeof full) => `${quoted(answer.text, WIDTH - 10)} ${answer.right ? "(right)" : "(wrong)"}`;
  const rows = [
    ["KV cache", ...answers.map((answer) => bytes(answer.bytes))],
    ["prompt", ...answers.map((answer) => duration(answer.prefillMs))],
    ["each new token", ...answers.map((answer) => duration(answer.decodeMsPerToken))],
    ["answer", ...answers.map(verdict)],
  ];
  const columns = ["", "all KV heads full", `${fullCount} of ${layers * kvHeads} KV heads full`];
  const others = `the others keep the first ${mask.sink} and the latest ${mask.recent} tokens`;
  return [
    bold(`A question about ${count(question.ids.length)} tokens`),
    dim(`  ${question.question}  (${others})`),
    table(columns, rows, "  "),
    ...(search === undefined ? [] : ["", bold("How few KV heads suffice"), indented(searchText(search))]),
    "",
  ].join("\n");
}

function indented(text: string): string {
  return text.replace(/^(?=\S)/gm, "  ");
}

function files(out: string, { files: names, training, model, sentence, ablation, totalMs }: MainJobResult): string {
  const folder = relative(process.cwd(), out).startsWith("..") ? out : relative(process.cwd(), out);
  const on = `--model ${model.ref}`;
  const tokens = `--tokens-file ${join(folder, "repeated-tokens.json")}`;
  const prompt = sentence.words ? '--chat --text "Why is the sky blue?"' : "--tokens-file FILE";
  const next = [
    `npx headscope runs show ${training.run}`,
    `npx headscope probe induction --model run:${training.run} --all-steps`,
    `npx headscope probe induction ${on}`,
    `npx headscope ablate ${on} --heads top:${ablation.heads.length}@${join(folder, "induction.json")} --method mean ${tokens}`,
    `npx headscope generate ${on} --mask ${join(folder, "mask.json")} ${prompt}`,
    "npx headscope --help",
  ];
  return [
    bold(`Files in ${folder}`),
    `  ${names.join("  ")}`,
    "",
    bold("Next"),
    ...next.map((line) => `  ${line}`),
    "",
    dim(`done in ${duration(totalMs)}`),
  ].join("\n");
}
