import { type Command, Option } from "commander";
import { SAMPLING_RULES, type SamplingName } from "../common/api/sampling.ts";
import { HeadscopeError } from "../common/errors.ts";
import type { Rule } from "../common/options.ts";
import {
  ACTIVATIONS,
  type Activations,
  CACHE_KINDS,
  type CacheKind,
  PROCESSING,
  WEIGHT_TYPES,
  type WeightType,
} from "../common/words.ts";

/** Reads a whole number. @param least smallest that will do */
export function integerParser(name: string, least = Number.MIN_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^[+-]?\d+$/.test(text.trim()) && Number.isSafeInteger(value) && value >= least) return value;
    const allowed = least === Number.MIN_SAFE_INTEGER ? "a whole number" : `a whole number from ${least}`;
    throw new HeadscopeError("usage", `${name} cannot be "${text}"`, { remedy: `give ${allowed}` });
  };
}

/** Reads a number. @param least smallest that will do */
export function numberParser(name: string, least = Number.NEGATIVE_INFINITY): (text: string) => number {
  return (text) => {
    const value = text.trim() === "" ? Number.NaN : Number(text);
    if (Number.isFinite(value) && value >= least) return value;
    const allowed = least === Number.NEGATIVE_INFINITY ? "a number" : `a number from ${least}`;
    throw new HeadscopeError("usage", `${name} cannot be "${text}"`, { remedy: `give ${allowed}` });
  };
}

/** Reads a number that follows a rule. */
export function ruledParser(name: string, rule: Rule): (text: string) => number {
  return (text) => {
    const value = text.trim() === "" ? Number.NaN : Number(text);
    if (rule.fits(value)) return value;
    throw new HeadscopeError("usage", `${name} cannot be "${text}"`, { remedy: `give ${rule.wants}` });
  };
}

/** Reads one of a few words. */
export function wordParser(name: string, choices: readonly string[]): (text: string) => string {
  return (text) => {
    if (choices.includes(text)) return text;
    throw new HeadscopeError("usage", `${name} cannot be "${text}"`, { remedy: `give one of ${choices.join(", ")}` });
  };
}

/** Options of a command that loads a model. */
export interface ModelOptions {
  readonly model: string;
  readonly weights?: WeightType | undefined;
  /** Names with commas between them. */
  readonly process?: string;
}

/** Adds --model, --weights and --process. */
export function modelOptions(command: Command): Command {
  return weightsOption(
    command.requiredOption(
      "--model <ref>",
      "catalogue name, hf:org/name[@revision], run:ID or run:ID@step, or path to a .gguf file or checkpoint folder",
    ),
  ).option("--process <switches>", `${PROCESSING.join(", ")}: change weights, not log-probabilities`);
}

/** Options of a command that studies a model, which may be under interventions. */
export interface StudiedModelOptions extends ModelOptions {
  /** File of what is changed in every run. */
  readonly interventions?: string;
}

/** Adds --model, --weights, --process and --interventions: the changed model is the one that is studied. */
export function studiedModelOptions(command: Command): Command {
  return interventionsOption(modelOptions(command), "what to change in every run: the changed model is studied");
}

/** Adds --weights. */
export function weightsOption(command: Command): Command {
  return command.addOption(
    new Option("--weights <type>", "f32; bf16: half the memory; q8: as the file has them, codes of a GGUF as codes")
      .argParser(wordParser("--weights", WEIGHT_TYPES))
      .default("f32"),
  );
}

/** Adds --cache. */
export function cacheOption(command: Command): Command {
  return command.addOption(
    new Option("--cache <kind>", "keys and values as f32 (default), f16, or codes of 8 or 4 bits: q8, q4").argParser(
      wordParser("--cache", CACHE_KINDS),
    ),
  );
}

/** Adds --cache and --activations. */
export function inferenceOptions(command: Command): Command {
  return cacheOption(command).addOption(
    new Option(
      "--activations <kind>",
      "8bit: round the vectors that packed weights are multiplied with; default exact",
    ).argParser(wordParser("--activations", ACTIVATIONS)),
  );
}

const SAMPLING_TEXTS: Readonly<Record<SamplingName, readonly [flag: string, text: string]>> = {
  repetitionPenalty: ["--repetition-penalty <p>", "above 1 makes tokens that have come already less likely"],
  topK: ["--top-k <n>", "sample among the n likeliest tokens"],
  topP: ["--top-p <share>", "sample among the fewest tokens that have this share of the probability together"],
  minP: ["--min-p <share>", "sample among tokens with this share of the likeliest one's probability"],
};

/** Adds --repetition-penalty, --top-k, --top-p and --min-p. */
export function samplingOptions(command: Command): Command {
  for (const [name, [flag, text]] of Object.entries(SAMPLING_TEXTS) as [SamplingName, [string, string]][])
    command.option(flag, text, ruledParser(flag.split(" ")[0]!, SAMPLING_RULES[name]));
  return command;
}

/** Options of a command that runs a model token by token. */
export interface InferenceOptions {
  readonly cache?: CacheKind;
  readonly activations?: Activations;
}

/** Options of a command that takes token rows. */
export interface TokenOptions {
  readonly text?: string;
  readonly tokensFile?: string;
  readonly prependBos?: boolean;
}

/** Reads an option that may be repeated, each time by itself. */
export function repeated<T>(read: (text: string) => T): (text: string, before?: T[]) => T[] {
  return (text, before = []) => [...before, read(text)];
}

/** Reads a text. @throws HeadscopeError (usage) for an empty one, before a model is loaded */
function readText(text: string): string {
  if (text !== "") return text;
  throw new HeadscopeError("usage", "--text is empty", {
    remedy: "give a text, or rows of token ids with --tokens-file, such as one of the BOS token alone",
  });
}

/**
 * Adds --text, --tokens-file, --prepend-bos and --no-prepend-bos.
 * @param how.instead what they stand in for @param how.several makes --text a list: it may be repeated
 */
export function tokenOptions(
  command: Command,
  { instead, several = false }: { instead?: string; several?: boolean } = {},
): Command {
  const behind = `${instead === undefined ? "" : `, instead of ${instead}`}${several ? "; may be repeated" : ""}`;
  const text = new Option("--text <text>", `a text, tokenised by the model's tokenizer${behind}`);
  return command
    .addOption(several ? text.argParser(repeated(readText)) : text.argParser(readText))
    .option("--tokens-file <file>", `JSON array of rows of token ids${behind}`)
    .addOption(new Option("--prepend-bos", "put the BOS token before the text (default: as the tokenizer does)"))
    .addOption(new Option("--no-prepend-bos", "put no BOS token before the text").default(undefined));
}

/** Adds --text-file. @param what the text is, or what it stands in for */
export function textFileOption(command: Command, what: string): Command {
  return command.option("--text-file <file>", what);
}

/** Options of a command about prompts with two answers each. */
export interface QuestionOptions extends TokenOptions {
  readonly pairFile?: string;
  /** Id, or text of one token. */
  readonly answer?: string;
  readonly wrong?: string;
  readonly position: number;
  /** File of what is changed in the run. */
  readonly interventions?: string;
}

/** The content of a pair file, for help texts. */
export const PAIR_FILE =
  'JSON {"clean", "corrupt", "answer", "wrong"} or an array of such; ids or texts, of each answer one token or a list of them';

/** Adds --pair-file, or --text and --tokens-file with --answer and --wrong, and --position. */
export function questionOptions(command: Command): Command {
  const questions = tokenOptions(command.option("--pair-file <file>", `${PAIR_FILE}. Of each the clean prompt is run`))
    .option("--answer <token>", "with --text or --tokens-file: the right answer, an id or a text of one token")
    .option("--wrong <token>", "the wrong answer, alike")
    .option("--position <n>", "position that is read, negative ones from the end", integerParser("--position"), -1);
  return interventionsOption(questions, "what to change in the run");
}

/** Adds --interventions. */
export function interventionsOption(command: Command, what: string): Command {
  return command.option("--interventions <file>", `${what} (JSON list; docs/add-an-intervention.md shows the words)`);
}

/** Adds --param, which may be repeated. */
export function paramOption(command: Command, what = "a parameter; may be repeated"): Command {
  return command.option(
    "--param <name=value>",
    what,
    repeated((pair) => pair),
  );
}

/** Adds --policy. */
export function policyOption(command: Command): Command {
  return command.option(
    "--policy <names>",
    "ways to hold or read less, with commas between: one for each thing that they choose (`headscope policies list`)",
    (text: string) => text.split(",").map((name) => name.trim()),
  );
}

/** Adds --seed, default 0. */
export function seedOption(command: Command): Command {
  return command.option("--seed <n>", "seed of everything random", integerParser("--seed", 0), 0);
}

/** Reads numbers with commas between. */
export function numbers(name: string, least: number, most = Number.POSITIVE_INFINITY): (text: string) => number[] {
  return (text) =>
    text.split(",").map((part) => {
      const value = part.trim() === "" ? Number.NaN : Number(part);
      if (value >= least && value <= most) return value;
      const range = most === Number.POSITIVE_INFINITY ? `from ${least}` : `from ${least} to ${most}`;
      throw new HeadscopeError("usage", `${name} cannot be "${part}"`, {
        remedy: `give numbers ${range}, with commas between`,
      });
    });
}

/** Reads whole numbers with commas between. @param least smallest that will do */
export function wholeNumbers(name: string, least: number): (text: string) => number[] {
  const read = integerParser(name, least);
  return (text) => text.split(",").map(read);
}
