import type { Prompt } from "../../../backend/common/api/prompts.ts";
import { formatHead, type Head, hasHead, readHead } from "../../../backend/common/heads/head.ts";
import { rank } from "../components/head-grid/grid.ts";
import { CONTRASTS } from "../components/matrix/contrast.ts";
import { type NamedPattern, patternCommand } from "../components/matrix/exports.ts";
import { loadPattern, type Patterns, pick } from "../components/matrix/patterns.ts";
import { Answer, type FollowOptions } from "../state/answer.svelte.ts";
import { choice, flag } from "../state/codecs.ts";
import { prompt } from "../state/prompt.svelte.ts";
import { openHead } from "../state/selection.svelte.ts";
import { urlParam } from "../state/url.svelte.ts";
import { workspace } from "../state/workspace.svelte.ts";

export const contrast = urlParam("contrast", choice(CONTRASTS, "linear"));
/** True if weights are multiplied by the norm of what the key's value writes. */
export const weighted = urlParam("weighted", flag());
export const background = urlParam("behind", choice(["attention", "loss"], "attention"));
export const showIds = urlParam("ids", flag());

/** The longest prompt that is drawn. */
export const LONGEST_PROMPT = 2048;
/** All heads of a layer are asked for at once up to so many weights; of larger ones the shown head comes first. */
const SMALL_LAYER = 2 ** 21;
/** All heads of a layer are shown up to so many weights: 64 MiB of them. */
export const LARGEST_LAYER = 2 ** 24;

/** A pattern with all that it is of, so that nothing is drawn under another head's name or text. */
export interface PromptPatterns {
  readonly prompt: Prompt;
  readonly layer: number;
  readonly weighted: boolean;
  readonly patterns: Patterns;
}

/** A head's pattern on the user's prompt. */
export type HeadPattern = PromptPatterns & Head;

/** A head's pattern by the names that stand for it outside the page. */
export function namedPattern(pattern: HeadPattern): NamedPattern {
  const { tokens, ids } = pattern.prompt;
  return { head: formatHead(pattern), tokens, ids, pattern: pattern.patterns.data };
}

/** The Attention page's view: a head, its pattern on the user's prompt, and those of the other heads of its layer. */
class Attention {
  readonly head = new Answer<HeadPattern>();
  readonly layer = new Answer<PromptPatterns>();

  /** The head that is looked at: the open one, else the model's best by induction, else 0.0; undefined until that is known. */
  readonly place = $derived.by(() => {
    const info = workspace.info.value;
    if (info === undefined) return undefined;
    const chosen = readHead(openHead.value);
    if (hasHead(info, chosen)) return chosen;
    const best = workspace.documents.find(({ probe }) => probe === "induction")?.metrics["induction"];
    if (best?.axis === "heads") return readHead(rank(best.values)[0]!.name);
    const expected =
      workspace.scores.value === undefined || workspace.fittingScores.some(({ probe }) => probe === "induction");
    return expected && workspace.scores.state !== "failed" ? undefined : { layer: 0, head: 0 };
  });

  /** LAYER.HEAD; "" until known. */
  readonly name = $derived(this.place ? formatHead({ layer: this.place.layer, head: this.place.head }) : "");

  readonly tooLong = $derived((prompt.value?.ids.length ?? 0) > LONGEST_PROMPT);

  /** Number of weights that the layer has on this prompt. */
  readonly layerSize = $derived((workspace.info.value?.heads ?? 0) * (prompt.value?.ids.length ?? 0) ** 2);

  /** The command that writes the shown pattern to a file; undefined while there is none, and of weights by value. */
  readonly command: (() => string) | undefined = $derived.by(() => {
    const { request } = prompt;
    const { value } = this.head;
    return value && !value.weighted && request ? () => patternCommand(value.layer, request) : undefined;
  });

  /** Keeps to the head, the prompt and the weighting; run in an effect. */
  follow(): void {
    const { place, tooLong, layerSize } = this;
    const own = prompt.value;
    const byValue = weighted.value;
    if (place === undefined || prompt.question === undefined || tooLong) {
      this.head.follow(undefined, undefined);
      this.layer.follow(undefined, undefined);
      return;
    }
    const { layer, head } = place;
    const about = { layer, weighted: byValue };
    const options: FollowOptions = { after: prompt.answer };
    const wholeLayer = layerSize <= SMALL_LAYER;
    this.head.follow(
      [prompt.question, about, head],
      own &&
        (async (call) => {
          const patterns = wholeLayer
            ? pick(await loadPattern(layer, { weighted: byValue }, call), [head])
            : await loadPattern(layer, { weighted: byValue, heads: [head] }, call);
          return { prompt: own, ...about, head, patterns };
        }),
      options,
    );
    this.layer.follow(
      layerSize > LARGEST_LAYER ? undefined : [prompt.question, about],
      own &&
        (async (call) => ({ prompt: own, ...about, patterns: await loadPattern(layer, { weighted: byValue }, call) })),
      options,
    );
  }

  /** Goes to another head or layer, round at the ends. */
  step(by: { readonly head?: number; readonly layer?: number }): void {
    const info = workspace.info.value;
    if (!this.place || !info) return;
    const layer = (this.place.layer + (by.layer ?? 0) + info.layers) % info.layers;
    const head = (this.place.head + (by.head ?? 0) + info.heads) % info.heads;
    openHead.value = formatHead({ layer, head });
  }
}

export const attention = new Attention();
