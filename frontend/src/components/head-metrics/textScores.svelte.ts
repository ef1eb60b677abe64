import type { TextScoresAnswer, TextScoresRequest } from "../../../../backend/common/api/text-scores.ts";
import { command, fileLine, promptCommand } from "../../../../backend/common/command-line.ts";
import { DIRECT_EFFECT, PATTERN_SCORES, type PatternScore } from "../../../../backend/common/texts/head-scores.ts";
import { heldToken, wrongToken } from "../../ablation/params.ts";
import { post } from "../../api/client.ts";
import { visible } from "../../format.ts";
import { patching } from "../../patching/patching.svelte.ts";
import { isOfPair, questionOfPair } from "../../patching/question.ts";
import { Answer } from "../../state/answer.svelte.ts";
import { positionIn } from "../../state/hold.ts";
import { prompt, promptText } from "../../state/prompt.svelte.ts";
import { workspace } from "../../state/workspace.svelte.ts";
import { emptyTable } from "../head-grid/grid.ts";
import type { Metric } from "./metrics.ts";
import { metricParam, patternParam, textMetricId } from "./params.ts";

type Score = TextScoresAnswer["scores"][number];
type Asked = Omit<TextScoresRequest, "prompt">;
type Pattern = NonNullable<Asked["pattern"]>;

/** Scores with the question that they answer, as JSON: they may stand under no other. */
interface Scored {
  readonly key: string;
  readonly scores: readonly Score[];
}

/** A pattern as it is typed: pairs as JSON, anything else is an expression; undefined for none. */
export function readPattern(text: string): Pattern | undefined {
  const given = text.trim();
  if (given === "") return undefined;
  if (!given.startsWith("[")) return { expression: given };
  try {
    const pairs: unknown = JSON.parse(given);
    const whole = (each: unknown): boolean => Number.isInteger(each) && (each as number) >= 0;
    if (Array.isArray(pairs) && pairs.every((pair) => Array.isArray(pair) && pair.length === 2 && pair.every(whole)))
      return { pairs: pairs as number[][] };
  } catch {
    // Refused as an expression, with the place where it is wrong.
  }
  return { expression: given };
}

/** The scores of every head on the reader's text: measured as it is typed, where the grid is coloured by it. */
class TextScores {
  readonly answer = new Answer<Scored>();

  /** The score that the grid is coloured by; undefined where it is another metric. */
  readonly chosen: string | undefined = $derived.by(() => {
    const all = [...PATTERN_SCORES, DIRECT_EFFECT];
    return all.find(({ name }) => textMetricId(name) === metricParam.value)?.name;
  });

  /** Position of the held token in the present text; undefined for none. */
  readonly held: number | undefined = $derived(positionIn(heldToken.value, prompt.request));

  /** The question about the text: the held token against the wrong one, else the pair's. */
  readonly question: Asked["question"] = $derived.by(() => {
    if (this.held !== undefined && this.held >= 1 && wrongToken.value >= 0)
      return { position: this.held, wrong: wrongToken.value };
    return questionOfPair(promptText.value);
  });

  /** All that decides the scores beside the text. */
  readonly #asked: Asked = $derived.by(() => {
    const pattern = this.chosen === "pattern" ? readPattern(patternParam.value) : undefined;
    return {
      ...(this.held === undefined ? {} : { held: this.held }),
      ...(pattern === undefined ? {} : { pattern }),
      ...(this.question === undefined ? {} : { question: this.question }),
    };
  });

  readonly #key: string = $derived(JSON.stringify([prompt.question, this.#asked]));

  /** The scores of the present text and question; undefined until they are there. */
  readonly #scores: readonly Score[] | undefined = $derived(
    this.answer.value?.key === this.#key ? this.answer.value.scores : undefined,
  );

  /** The logit difference of the question, which the direct effects are shares of; undefined until it is there. */
  readonly logitDiff: number | undefined = $derived(
    this.#scores?.find(({ name }) => name === DIRECT_EFFECT.name)?.logitDiff,
  );

  /** The scores as metrics, in the order of a menu. */
  readonly metrics: readonly Metric[] = $derived.by(() => {
    if (workspace.info.value === undefined) return [];
    return [...PATTERN_SCORES.map((score) => this.#metric(score)), this.#metric(DIRECT_EFFECT)];
  });

  /** The metric that the grid is coloured by; undefined where it is of no text. */
  readonly shown: Metric | undefined = $derived(this.metrics.find(({ name }) => name === this.chosen));

  /** Those that have values. */
  readonly measured: readonly Metric[] = $derived(this.metrics.filter(({ text }) => text?.missing === undefined));

  /** Keeps to the text and the question while the grid is coloured by them; run in an effect. */
  follow(): void {
    if (this.chosen === undefined) {
      this.answer.follow(undefined, undefined);
      return;
    }
    prompt.follow();
    if (isOfPair(promptText.value)) patching.align();
    const own = prompt.value;
    const [key, asked] = [this.#key, this.#asked];
    this.answer.follow(
      prompt.question === undefined ? undefined : [prompt.question, asked],
      own &&
        (async (call) => {
          const ask = (id: string) => post<TextScoresAnswer>("/api/text-scores", { prompt: id, ...asked }, call);
          return { key, scores: (await prompt.about(ask)).scores };
        }),
      { after: prompt.answer },
    );
  }

  #metric(score: PatternScore | typeof DIRECT_EFFECT): Metric {
    const info = workspace.info.value!;
    const { name } = score;
    const found = this.#scores?.find((each) => each.name === name);
    const before =
      this.#scores === undefined ? this.answer.latest?.scores.find((each) => each.name === name) : undefined;
    const fits = before?.values?.length === info.layers && before.values[0]?.length === info.heads;
    const direct = name === DIRECT_EFFECT.name;
    return {
      id: textMetricId(name),
      label: this.#label(score),
      probe: "text",
      name,
      axis: "heads",
      values: found?.values ?? emptyTable(info.layers, info.heads),
      ...(direct ? {} : { range: [0, 1] as const }),
      chance: found?.chance,
      text: {
        meaning: score.meaning,
        diverging: direct,
        missing: found?.values ? undefined : (this.#absent(found) ?? "Not measured yet."),
        before: fits ? before.values : undefined,
        settings: { text: prompt.shown, score: name, ...this.#asked },
        command: this.#command(score),
      },
    };
  }

  /** Its title, with the token that it is about. */
  #label({ name, title }: PatternScore | typeof DIRECT_EFFECT): string {
    const needs = PATTERN_SCORES.find((score) => score.name === name)?.needs;
    const token = this.held === undefined ? undefined : prompt.value?.tokens[this.held];
    return needs === "held" && token !== undefined ? `${title} (${this.held} ${visible(token)})` : title;
  }

  #absent(found: Score | undefined): string | undefined {
    if (this.answer.state === "failed") return `Not measured: ${this.answer.problem!.detail}.`;
    if (found?.absent === undefined) return this.answer.loading ? "Measuring…" : undefined;
    return `No such score here: ${found.absent}.`;
  }

  /** The command that gives the score's numbers; undefined where what it needs is not there. */
  #command(score: PatternScore | typeof DIRECT_EFFECT): string | undefined {
    const { request } = prompt;
    if (request === undefined) return undefined;
    if (!("expression" in score)) return this.#attributeCommand();
    if (score.probe !== undefined) return promptCommand(["probe", score.probe], request, {});
    if (score.needs === "held" && this.held === undefined) return undefined;
    const own =
      score.needs === "pattern" ? readPattern(patternParam.value) : { expression: score.expression(this.held ?? 0) };
    if (own === undefined) return undefined;
    const param = "pairs" in own ? `pairs=${JSON.stringify(own.pairs)}` : `expression=${own.expression}`;
    return promptCommand(["probe", "pattern"], request, { param });
  }

  #attributeCommand(): string | undefined {
    const ids = prompt.value?.ids;
    if (this.question === undefined || ids === undefined) return undefined;
    const { position, answer = ids[position], wrong } = this.question;
    const line = command(["attribute"], { model: workspace.model, "tokens-file": "tokens.json", answer, wrong });
    return `${fileLine("tokens.json", [ids.slice(0, position)])} && ${line}`;
  }
}

export const textScores = new TextScores();
