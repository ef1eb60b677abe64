import type {
  Circuit,
  CircuitAnswer,
  CircuitRequest,
  CircuitRunAnswer,
  CircuitRunRequest,
} from "../../../backend/common/api/circuits.ts";
import { command, fileLine } from "../../../backend/common/command-line.ts";
import { ApiError, type CallOptions, post, problem, stream } from "../api/client.ts";
import { patching } from "../patching/patching.svelte.ts";
import { Answer } from "../state/answer.svelte.ts";
import { promptBos } from "../state/prompt.svelte.ts";
import { workspace } from "../state/workspace.svelte.ts";
import { edgesParam, methodParam, offParam } from "./params.ts";
import { edgeName, isOff, nodeName, switchEdge, switchNode } from "./switches.ts";

/** Edges that are asked for: more than these are not drawn. */
const EDGES = 200;
/** Changes that follow each other faster than this are answered once, in milliseconds. */
const PAUSE = 250;
/** The same of runs, which are quick. */
const RUN_PAUSE = 60;
/** Seconds that a search may take unasked: it says how far it is, and can be given up. */
const PATIENCE = 120;

type Edge = CircuitRunRequest["edges"][number];

/** The circuit of the pairs of prompts by the chosen method, and the part of it that is drawn. */
class Circuits {
  readonly answer = new Answer<CircuitAnswer>();
  /** The run of the edges that are drawn. */
  readonly #drawn = new Answer<CircuitRunAnswer>();
  /** The run of those that are left when some are switched off. */
  readonly #left = new Answer<CircuitRunAnswer>();
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

  /** Nodes and edges of the drawing that are switched off, by their names. */
  readonly off: readonly string[] = $derived.by(() => {
    const there = new Set(this.edges.flatMap((edge) => [edgeName(edge), edge.from, nodeName(edge.to)]));
    return offParam.value.filter((name) => there.has(name));
  });

  /** The edges that are drawn and not switched off. */
  readonly left = $derived(this.edges.filter((edge) => !isOff(edge, this.off)));

  /** The run of what is left. */
  readonly run: Answer<CircuitRunAnswer> = $derived(this.off.length > 0 ? this.#left : this.#drawn);

  /** The run of all that is drawn, where some of it is switched off. */
  readonly whole: CircuitRunAnswer | undefined = $derived(this.off.length > 0 ? this.#drawn.value : undefined);

  /** The lines that find the same circuit, and run what is left of it. */
  readonly command: string = $derived.by(() => {
    const { pairs, textual } = patching;
    const bos = {
      "prepend-bos": textual && promptBos.value === "on",
      "no-prepend-bos": textual && promptBos.value === "off",
    };
    const common = { model: workspace.model, "pair-file": "pair.json", ...bos };
    const some = this.left.map(({ from, to }) => ({ from, to }));
    return [
      fileLine("pair.json", pairs.length === 1 ? pairs[0] : pairs),
      command(["circuit", "find"], { ...common, method: methodParam.value, edges: EDGES, out: "circuit.json" }),
      ...(this.off.length === 0 || this.answer.value === undefined
        ? [command(["circuit", "run"], { ...common, circuit: "circuit.json", edges: this.size })]
        : [fileLine("left.json", { edges: some }), command(["circuit", "run"], { ...common, circuit: "left.json" })]),
    ].join(" && ");
  });

  /** Switches a node off, with all its edges, or on again; a step of undo. */
  switchNode(name: string): void {
    offParam.value = switchNode(name, this.off);
  }

  /** Switches an edge off or on again; a step of undo. */
  switchEdge(edge: Edge): void {
    offParam.value = switchEdge(edge, this.off, this.edges);
  }

  /** Switches something on again, default all. */
  switchOn(name?: string): void {
    offParam.value = name === undefined ? [] : this.off.filter((each) => each !== name);
  }

  /** The circuit of what is left, as a file holds it. */
  get file(): Circuit | undefined {
    const { value } = this.answer;
    return value && { ...value.circuit, edges: [...this.left] };
  }

  /** Progress of the search for the present question; undefined where that is not known. */
  get progress(): { done: number; total: number } | undefined {
    return this.#progress?.id === this.answer.id ? this.#progress : undefined;
  }

  /** Keeps to the circuit of the pairs and the method, and to the run of what is left of it; run in an effect. */
  follow(): void {
    const { request } = this;
    patching.align();
    const idle = request === undefined || patching.problem !== undefined;
    const ask = patching.alignments.value && request && ((call: CallOptions) => this.#find(request, call));
    const question = idle ? undefined : [workspace.info.value?.digest, request];
    const after = patching.alignments as Answer<unknown>;
    this.answer.follow(question, ask, { pause: PAUSE, patience: PATIENCE, after });
    this.#follow(this.#drawn, question, this.edges);
    this.#follow(this.#left, this.off.length === 0 ? undefined : question, this.left);
  }

  /** Keeps to the run of some of the circuit's edges. @param question of the circuit */
  #follow(answer: Answer<CircuitRunAnswer>, question: unknown, edges: readonly Edge[]): void {
    const { request } = this;
    const some = edges.map(({ from, to }) => ({ from, to }));
    const ask =
      this.answer.value &&
      request &&
      ((call: CallOptions) => {
        const { model, pairs } = request;
        const body: CircuitRunRequest = { model, pairs, ...patching.bos, edges: some };
        return post<CircuitRunAnswer>("/api/circuit-runs", body, call);
      });
    const after = this.answer as Answer<unknown>;
    answer.follow(question && [question, some], ask, { pause: RUN_PAUSE, after });
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
