import type { AttributeRequest, LensRequest } from "../../common/api/attribution.ts";
import type { CircuitRequest, CircuitRunRequest } from "../../common/api/circuits.ts";
import { type GenerateBatchRequest, NEW_TOKENS } from "../../common/api/generation.ts";
import type { PairSampleRequest } from "../../common/api/pair-samples.ts";
import type { AblateEachRequest, PairInput, PatchPlacesRequest, PatchRequest } from "../../common/api/patching.ts";
import type { PromptInput } from "../../common/api/prompts.ts";
import type { HeadRolesRequest } from "../../common/api/roles.ts";
import { curveSizes } from "../../common/circuits.ts";
import { groupSize } from "../../common/patching.ts";
import type { ModelConfig } from "../../models/config.ts";
import type { ServerContext } from "../context.ts";
import { type Effort, forwardFlops } from "./effort.ts";

/** A new token costs about as much as so many of a prompt: every weight is read for it alone. */
const TOKEN_BY_TOKEN = 8;
/** A gradient costs about as much as so many runs of the prompt. */
const GRADIENT = 3;
/** Forwards that the run of a circuit costs. */
const CIRCUIT_RUN = 12;
/** Forwards that roles cost, by prompt: patterns, and the heads that look at their places patched in the layers behind them. */
const ROLES = 4;
/** Tokens of a task's prompt, about. */
const SAMPLED_TOKENS = 32;
/** Rows that mean and resample draw from where none are given. */
const REFERENCE_ROWS = 8;

/** Parts of an ablation that decide how much it computes. */
interface AblationLike {
  readonly heads: readonly string[];
  readonly method?: string | undefined;
  readonly controls?: number | undefined;
  readonly reference?: readonly (readonly number[])[] | undefined;
}

/** Parts of a generation that decide how long it takes behind the prompt. */
type Continuing = Partial<Pick<GenerateBatchRequest, "maxTokens" | "contextAware">>;

/** Efforts of the requests of one caller, from the shapes of their models and the lengths of their texts. */
export class Efforts {
  readonly #context: Pick<ServerContext, "models" | "interactive">;
  readonly #signal: AbortSignal;

  /** Its methods take models as the worker takes them, and throw as opening them does. */
  constructor(context: Pick<ServerContext, "models" | "interactive">, signal: AbortSignal) {
    this.#context = context;
    this.#signal = signal;
  }

  /** The shape of a model, from the worker at the first time. */
  async #config(model: string): Promise<ModelConfig> {
    return (await this.#context.models.describe(model, this.#signal)).config;
  }

  /**
   * The tokens of a prompt.
   * @param roughly takes the bytes of a short text for its tokens, of which it has no more
   * @throws as the prompt itself would be refused
   */
  async #tokens(input: PromptInput, roughly = false): Promise<number> {
    if ("tokens" in input) return input.tokens.length;
    const bytes = Buffer.byteLength(input.text) + 1;
    const config = await this.#config(input.model);
    if (roughly && this.#context.interactive.isShort("prompt", forwardFlops(config, bytes))) return bytes;
    const { model, text, bos } = input;
    const payload = { model, text, bos };
    return (await this.#context.interactive.ask("count", payload, { signal: this.#signal })).tokens;
  }

  /** Of running a prompt. */
  async prompt(input: PromptInput): Promise<Effort> {
    const tokens = await this.#tokens(input, true);
    return { tokens, flops: forwardFlops(await this.#config(input.model), tokens) };
  }

  /** Of looking at one layer of a prompt that was run: all of it again where that is no longer kept. */
  async look(model: string, tokens: number): Promise<Effort> {
    const config = await this.#config(model);
    const most = forwardFlops(config, tokens);
    return { tokens, flops: most / config.n_layers, most };
  }

  /** Of ablating heads on rows: the clean run, the heads' and each control's from the first changed layer on, and references. */
  async ablation(
    model: string,
    rows: readonly (readonly number[])[],
    { heads, method = "zero", controls = 5, reference }: AblationLike,
  ): Promise<Effort> {
    const config = await this.#config(model);
    const runs = (some: readonly (readonly number[])[]): number =>
      some.reduce((sum, row) => sum + forwardFlops(config, row.length), 0);
    const first = Math.min(config.n_layers, ...heads.map((head) => Number(head.split(".")[0])));
    const changed = (1 + controls) * (1 - first / config.n_layers);
    const once = runs(rows);
    const drawn = method === "zero" ? 0 : reference ? runs(reference) : REFERENCE_ROWS * once;
    const tokens = rows.reduce((sum, row) => sum + row.length, 0);
    return { tokens, flops: once * changed + drawn, most: once * (changed + 1) + drawn };
  }

  /** Of two runs of a prompt: with interventions and without. */
  async intervention(model: string, tokens: number): Promise<Effort> {
    const once = forwardFlops(await this.#config(model), tokens);
    return { tokens, flops: once, most: 2 * once };
  }

  /** Of all scores of a text: its layers once more, and a run of the question's prompt. */
  async textScores(model: string, tokens: number, question: boolean): Promise<Effort> {
    const once = forwardFlops(await this.#config(model), tokens);
    const flops = question ? 2 * once : once;
    return { tokens, flops, most: flops + once };
  }

  async #sides(model: string, pairs: readonly PairInput[], bos: boolean | undefined): Promise<number[]> {
    const lengths: number[] = [];
    for (const { clean, corrupt } of pairs)
      for (const side of [clean, corrupt]) {
        const common = { model, bos };
        const input = typeof side === "string" ? { ...common, text: side } : { model, tokens: side };
        lengths.push(await this.#tokens(input));
      }
    return lengths;
  }

  async #questions({ model, prompts, bos }: AttributeRequest | LensRequest): Promise<number[]> {
    const lengths: number[] = [];
    for (const { clean } of prompts)
      lengths.push(
        await this.#tokens(typeof clean === "string" ? { model, bos, text: clean } : { model, tokens: clean }),
      );
    return lengths;
  }

  /** Of attributing logits: a run a prompt. */
  async attribution(request: AttributeRequest): Promise<Effort> {
    return this.#runs(request.model, await this.#questions(request), 1);
  }

  /** Of a lens: a run a prompt, read out at every layer. */
  async lens(request: LensRequest): Promise<Effort> {
    const { n_layers } = await this.#config(request.model);
    return this.#runs(request.model, await this.#questions(request), n_layers + 1);
  }

  /** Of running prompts once. @param ends positions whose logits are read */
  async #runs(model: string, lengths: readonly number[], ends: number): Promise<Effort> {
    const config = await this.#config(model);
    const flops = lengths.reduce((sum, n) => sum + forwardFlops(config, n, ends), 0);
    return { tokens: lengths.reduce((sum, n) => sum + n, 0), flops };
  }

  /** Of patching several places in one run: three runs a pair at most. */
  async places({ model, pairs, bos }: PatchPlacesRequest): Promise<Effort> {
    const { tokens, flops } = await this.#runs(model, await this.#sides(model, pairs, bos), 1);
    return { tokens, flops: 1.5 * flops };
  }

  /** Of taking each part out in turn: a run a part, from its layer on. */
  async ablationOfEach({ model, pairs, bos, each }: AblateEachRequest): Promise<Effort> {
    const config = await this.#config(model);
    const lengths = await this.#sides(model, pairs, bos);
    const { n_layers, n_heads } = config;
    const runsOf = (length: number): number =>
      ({ head: n_heads, mlp: 1, layer: 1, source: length })[each] * ((n_layers + 1) / 2);
    const flops = lengths.reduce((sum, n, i) => sum + (1 + ((i + 1) % 2) * runsOf(n)) * forwardFlops(config, n, 1), 0);
    return { tokens: lengths.reduce((sum, n) => sum + n, 0), flops };
  }

  /** Of aligning a pair, which runs both prompts for the probabilities of the answers. */
  async pair(model: string, pair: PairInput, bos: boolean | undefined): Promise<Effort> {
    const config = await this.#config(model);
    const lengths = await this.#sides(model, [pair], bos);
    return { tokens: Math.max(...lengths), flops: lengths.reduce((sum, n) => sum + forwardFlops(config, n), 0) };
  }

  /**
   * Of patching: every place of a layer is a run from that layer on; of paths every earlier head is one from the receivers on, or
   * from its own layer on where the MLPs between are computed again.
   */
  async patch(request: PatchRequest): Promise<Effort> {
    const { model, pairs, bos, node = "z", by = "head", group, layers, method, into, mlps = "frozen" } = request;
    const config = await this.#config(model);
    const lengths = await this.#sides(model, pairs, bos);
    const { n_layers, n_heads, n_key_value_heads } = config;
    const heads = node === "k" || node === "v" ? n_key_value_heads : n_heads;
    const receivers = (into ?? []).map((name) => (name === "logits" ? n_layers : Number(/\d+/.exec(name)![0])));
    const [first, last] = [Math.min(n_layers, ...receivers), Math.max(0, ...receivers)];
    const runsOf = (length: number): number => {
      if (into !== undefined) {
        const between = mlps === "recomputed" ? (last + 1) / 2 : 0; // layers, of a sender on average
        return (last * n_heads * (n_layers - first + between)) / n_layers;
      }
      if (method === "attribution") return GRADIENT;
      const patched = layers ?? Array.from({ length: n_layers }, (_, l) => l);
      const sizes = { group, layers: patched.length, runEach: true };
      const groups = (): number => (config.attn_only ? 1 : Math.ceil(config.d_mlp / groupSize(config, sizes)));
      const places = by === "head" ? heads : by === "position" ? length : by === "layer" ? 1 : groups();
      return places * patched.reduce((sum, layer) => sum + (1 - Math.min(1, layer / n_layers)), 0);
    };
    // Of the two sides of a pair one run each, and one of them patched at every place.
    const flops = lengths.reduce((sum, n, i) => sum + (1 + (i % 2) * runsOf(n)) * forwardFlops(config, n, 1), 0);
    return { tokens: lengths.reduce((sum, n) => sum + n, 0), flops };
  }

  /** Of a circuit: gradients at every layer, or a run an edge, then the runs of its first edges, which cost as much as some forwards. */
  async circuit({ model, pairs, bos, method, edges, ...rest }: CircuitRequest): Promise<Effort> {
    const { steps = 5 } = { steps: rest.steps, ...rest.params } as { steps?: number | string };
    const config = await this.#config(model);
    const lengths = await this.#sides(model, pairs, bos);
    const gradients = method === "eap" ? 1 : (method === "eap-gp" ? 2 : 1) * Number(steps);
    const scoring = method === "exact" ? edges : GRADIENT * gradients;
    const runs = 2 + scoring + CIRCUIT_RUN * curveSizes(edges).length;
    const flops = lengths.reduce((sum, n) => sum + (runs / 2) * forwardFlops(config, n, 1), 0);
    return { tokens: lengths.reduce((sum, n) => sum + n, 0), flops };
  }

  /** Of the roles of heads: each layer's patterns, and both sides with a few of the heads patched. */
  async headRoles({ model, pairs, bos }: HeadRolesRequest): Promise<Effort> {
    const config = await this.#config(model);
    const lengths = await this.#sides(model, pairs, bos);
    const flops = lengths.reduce((sum, n) => sum + ROLES * forwardFlops(config, n, 1), 0);
    return { tokens: lengths.reduce((sum, n) => sum + n, 0), flops };
  }

  /** Of drawing pairs, whose prompts are short, and answering them. */
  async pairSample({ model, count = 4 }: PairSampleRequest): Promise<Effort> {
    const config = await this.#config(model);
    const tokens = 2 * count * SAMPLED_TOKENS;
    return { tokens, flops: 2 * count * forwardFlops(config, SAMPLED_TOKENS, 1) };
  }

  /** Of the run of some edges: it alone where the runs of the pairs' sides are kept, else those as well. */
  async circuitRun({ model, pairs, bos }: CircuitRunRequest): Promise<Effort> {
    const config = await this.#config(model);
    const lengths = await this.#sides(model, pairs, bos);
    const forwards = lengths.reduce((sum, n) => sum + forwardFlops(config, n, 1), 0);
    const flops = (CIRCUIT_RUN / 2) * forwards;
    return { tokens: lengths.reduce((sum, n) => sum + n, 0), flops, most: flops + forwards };
  }

  /** Of continuing a prompt. */
  async generation(input: PromptInput & Continuing): Promise<Effort> {
    const lengths = [await this.#tokens(input), ...(await this.#withoutContext(input.model, input))];
    return this.#continuing(input.model, lengths, lengths.length * (input.maxTokens ?? NEW_TOKENS));
  }

  /** Of continuing several. */
  async generations({ model, prompts, ...common }: Continuing & Pick<GenerateBatchRequest, "model" | "prompts">) {
    const lengths: number[] = [];
    let tokens = 0;
    for (const prompt of prompts) {
      const input = "text" in prompt ? { model, text: prompt.text, bos: prompt.bos } : { model, tokens: prompt.tokens };
      const { contextAware = common.contextAware, maxTokens = common.maxTokens ?? NEW_TOKENS } = prompt;
      const without = await this.#withoutContext(model, { contextAware });
      lengths.push(await this.#tokens(input), ...without);
      tokens += (1 + without.length) * maxTokens;
    }
    return this.#continuing(model, lengths, tokens);
  }

  /** The tokens of a prompt without its context, which is a row of its own. */
  async #withoutContext(model: string, { contextAware }: Continuing): Promise<number[]> {
    if (!contextAware) return [];
    const { without } = contextAware;
    return [await this.#tokens({ model, ...(typeof without === "string" ? { text: without } : { tokens: without }) })];
  }

  async #continuing(model: string, lengths: readonly number[], tokens: number): Promise<Effort> {
    const prompts = await this.#runs(model, lengths, 1);
    const perToken = forwardFlops(await this.#config(model), 1) * TOKEN_BY_TOKEN;
    return { ...prompts, flops: prompts.flops + tokens * perToken };
  }
}
