import type { CircuitAnswer, CircuitRequest } from "../../../backend/common/api/circuits.ts";
import { command, fileLine } from "../../../backend/common/command-line.ts";
import { ApiError, type CallOptions, problem, stream } from "../api/client.ts";
import { patching } from "../patching/patching.svelte.ts";
import { Answer } from "../state/answer.svelte.ts";
import { workspace } from "../state/workspace.svelte.ts";
import { edgesParam, methodParam } from "./params.ts";

/** Edges that are asked for: more than these are not drawn. */
const EDGES = 200;
/** Changes that follow each other faster than this are answered once, in milliseconds. */
const PAUSE = 250;
/** Seconds that a search may take unasked: it says how far it is, and can be given up. */
const PATIENCE = 120;

/** The circuit of the pairs of prompts by the chosen method, and the part of it that is drawn. */
class Circuits {
  readonly answer = new Answer<CircuitAnswer>();
  #progress = $state.raw<{ id: string; done: number; total: number }>();
  /** Number of edges while the slider moves. */
  draft = $state<number>();

  /** The body of POST /api/circuits; undefined while there is nothing to ask. */
  readonly request: CircuitRequest | undefined = $derived.by(() => {
    const { pairs, bos } = patching;
    if (pairs.length === 0 || workspace.info.value === undefined) return undefined;
    return { model: workspace.model, pairs, ...bos, method: methodParam.value, edges: EDGES };
  });

  /** Number of edges that are drawn. */
  readonly size: number = $derived(
    Math.min(this.draft ?? edgesParam.value, this.answer.latest?.circuit.edges.length ?? EDGES),
  );

  /** The edges that are drawn, the largest first. */
  readonly edges = $derived((this.answer.latest?.circuit.edges ?? []).slice(0, this.size));

  /** The lines that find the same circuit, and run what is drawn of it. */
  readonly command: string = $derived.by(() => {
    const { pairs } = patching;
    const common = { model: workspace.model, "pair-file": "pair.json" };
    return [
      fileLine("pair.json", pairs.length === 1 ? pairs[0] : pairs),
      command(["circuit", "find"], { ...common, method: methodParam.value, edges: EDGES, out: "circuit.json" }),
      command(["circuit", "run"], { ...common, circuit: "circuit.json", edges: this.size }),
    ].join(" && ");
  });

  /** Progress of the search for the present question; undefined where that is not known. */
  get progress(): { done: number; total: number } | undefined {
    return this.#progress?.id === this.answer.id ? this.#progress : undefined;
  }

  /** Keeps to the circuit of the pairs and the method; run in an effect. */
  follow(): void {
    const { request } = this;
    patching.align();
    const idle = request === undefined || patching.problem !== undefined;
    const ask = patching.alignments.value && request && ((call: CallOptions) => this.#find(request, call));
    const question = idle ? undefined : [workspace.info.value?.digest, request];
    const after = patching.alignments as Answer<unknown>;
    this.answer.follow(question, ask, { pause: PAUSE, patience: PATIENCE, after });
  }

  async #find(request: CircuitRequest, call: CallOptions): Promise<CircuitAnswer> {
    for await (const { event, data } of stream("/api/circuits", request, call)) {
      if (event === "progress") this.#progress = { id: call.id ?? "", ...(data as { done: number; total: number }) };
      else if (event === "done") return data as CircuitAnswer;
    }
    throw new ApiError(problem("network", "Not done", "the server ended the search without a circuit", "ask again"));
  }
}

export const circuits = new Circuits();
