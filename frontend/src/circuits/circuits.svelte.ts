import type {
  Circuit,
  CircuitAnswer,
  CircuitGroup,
  CircuitRequest,
  CircuitRunAnswer,
  CircuitRunRequest,
} from "../../../backend/common/api/circuits.ts";
import type { HeadRolesAnswer, HeadRolesRequest } from "../../../backend/common/api/roles.ts";
import { command, fileLine, parameterPairs } from "../../../backend/common/command-line.ts";
import type { Flag } from "../../../backend/common/definitions/definition.ts";
import type { HeadRole } from "../../../backend/common/heads/roles.ts";
import { METRICS, type MetricName } from "../../../backend/common/metrics.ts";
import { ApiError, type CallOptions, post, problem, stream } from "../api/client.ts";
import { flagProblem } from "../components/controls/flags.ts";
import { pairMetric } from "../patching/params.ts";
import { patching } from "../patching/patching.svelte.ts";
import { Answer } from "../state/answer.svelte.ts";
import { sortHeads } from "../state/codecs.ts";
import { promptBos } from "../state/prompt.svelte.ts";
import { workspace } from "../state/workspace.svelte.ts";
import { headOf, nodeOf } from "./graph/graph.ts";
import { freeName, isHeadOrMlp, soundGroups, withNodeIn } from "./graph/groups.ts";
import { edgesParam, groupsParam, methodParam, methodParams, namesParam, offParam } from "./params.ts";
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

/** A run of edges with what was asked: a number is shown with its own question's words. */
export interface Ran extends CircuitRunAnswer {
  readonly name: MetricName;
  /** The answer and the wrong one of the pair that was shown; undefined of several pairs. */
  readonly answers: readonly [string, string] | undefined;
}

/** The circuit of the pairs of prompts by the chosen method, and the part of it that is drawn. */
class Circuits {
  readonly answer = new Answer<CircuitAnswer>();
  /** The run of the edges that are drawn. */
  readonly #drawn = new Answer<Ran>();
  /** The run of those that are left when some are switched off. */
  readonly #left = new Answer<Ran>();
  /** Roles of the heads of the whole circuit, also of edges that are not drawn. */
  readonly roles = new Answer<HeadRolesAnswer>();
  /** Number of edges while the slider moves. */
  draft = $state<number>();

  /** Parameters of the chosen method. */
  readonly flags: readonly Flag[] = $derived(
    workspace.definitions.value?.circuitMethods?.find(({ name }) => name === methodParam.value)?.flags ?? [],
  );

  /** The parameters of the chosen method that were given, as text. */
  readonly params: Readonly<Record<string, string>> = $derived(
    Object.fromEntries(
      this.flags.flatMap(({ name }) => {
        const text = methodParams.value[name]?.trim();
        return text ? [[name, text]] : [];
      }),
    ),
  );

  /** The fault of a parameter; undefined where all can be sent. */
  readonly badParam: string | undefined = $derived.by(() => {
    for (const flag of this.flags) {
      const fault = flagProblem(flag, this.params[flag.name] ?? "");
      if (fault !== undefined) return `Give ${flag.name} ${fault}.`;
    }
    return undefined;
  });

  /** The body of POST /api/circuits; undefined while there is nothing to ask. */
  readonly request: CircuitRequest | undefined = $derived.by(() => {
    const { pairs, bos } = patching;
    if (pairs.length === 0 || workspace.info.value === undefined || this.badParam !== undefined) return undefined;
    // The method's parameters are known before it is asked, so that it is not asked twice.
    if (Object.keys(methodParams.value).length > 0 && workspace.definitions.value === undefined) return undefined;
    const params = Object.keys(this.params).length > 0 ? { params: this.params } : {};
    return {
      ...{ model: workspace.model, pairs, ...bos, metric: pairMetric.value },
      ...{ method: methodParam.value, ...params, edges: EDGES },
    };
  });

  /** Metric of the circuit that is shown. */
  readonly metric: MetricName = $derived(this.answer.latest?.circuit.metric ?? METRICS[0]);

  /** Number of edges that are drawn. */
  readonly size: number = $derived(
    Math.min(this.draft ?? edgesParam.value, this.answer.latest?.circuit.edges.length ?? EDGES),
  );

  /** The number of edges where the slider was let go of. */
  readonly kept: number = $derived(Math.min(edgesParam.value, this.answer.latest?.circuit.edges.length ?? EDGES));

  /** The edges that are drawn, the largest first. */
  readonly edges = $derived((this.answer.latest?.circuit.edges ?? []).slice(0, this.size));

  /** Nodes and edges of the drawing that are switched off, by their names. */
  readonly off: readonly string[] = $derived.by(() => {
    const there = new Set(this.edges.flatMap((edge) => [edgeName(edge), edge.from, nodeName(edge.to)]));
    return offParam.value.filter((name) => there.has(name));
  });

  /** The edges that are drawn and not switched off. */
  readonly left = $derived(this.edges.filter((edge) => !isOff(edge, this.off)));

  /** Heads that the edges left touch; none while the circuit is that of the question before. */
  readonly heads: readonly string[] = $derived(
    this.answer.value === undefined
      ? []
      : sortHeads(this.left.flatMap(({ from, to }) => [from, to].flatMap((name) => headOf(nodeOf(name)) ?? []))),
  );

  /** Groups of nodes, and names: those that the address holds and that can be. */
  readonly groups: readonly CircuitGroup[] = $derived(soundGroups(groupsParam.value));
  readonly names: Readonly<Record<string, string>> = $derived(
    Object.fromEntries(
      Object.entries(namesParam.value).filter(([node, name]) => isHeadOrMlp(node) && typeof name === "string" && name),
    ),
  );

  /** By head, the role that says most of it; empty until the roles of the present question are known. */
  readonly roleOf: ReadonlyMap<string, HeadRole> = $derived(
    new Map(this.roles.value?.heads.map(({ head, roles }) => [head, roles[0]!.role])),
  );

  /** The run of what is left. */
  readonly run: Answer<Ran> = $derived(this.off.length > 0 ? this.#left : this.#drawn);

  /** The run of all that is drawn, where some of it is switched off. */
  readonly whole: Ran | undefined = $derived(this.off.length > 0 ? this.#drawn.value : undefined);

  readonly #pairLine: string = $derived(
    fileLine("pair.json", patching.pairs.length === 1 ? patching.pairs[0] : patching.pairs),
  );
  readonly #common = $derived({
    model: workspace.model,
    "pair-file": "pair.json",
    "prepend-bos": patching.textual && promptBos.value === "on",
    "no-prepend-bos": patching.textual && promptBos.value === "off",
  });

  /** The lines that find the same circuit, and run what is left of it. */
  readonly command: string = $derived.by(() => {
    const common = this.#common;
    const some = this.left.map(({ from, to }) => ({ from, to }));
    const metric = pairMetric.value === METRICS[0] ? undefined : pairMetric.value;
    const param = parameterPairs(this.params);
    const find = { ...common, method: methodParam.value, param, metric, edges: EDGES, out: "circuit.json" };
    return [
      this.#pairLine,
      command(["circuit", "find"], find),
      ...(this.off.length === 0 || this.answer.value === undefined
        ? [command(["circuit", "run"], { ...common, circuit: "circuit.json", edges: this.size })]
        : [
            fileLine("left.json", { edges: some }),
            command(["circuit", "run"], { ...common, metric, circuit: "left.json" }),
          ]),
    ].join(" && ");
  });

  /** The lines that suggest the roles. */
  readonly rolesCommand: string = $derived.by(() => {
    const metric = pairMetric.value === METRICS[0] ? undefined : pairMetric.value;
    const find = {
      ...this.#common,
      method: methodParam.value,
      param: parameterPairs(this.params),
      metric,
      edges: EDGES,
    };
    return [
      this.#pairLine,
      command(["circuit", "find"], { ...find, out: "circuit.json" }),
      command(["circuit", "roles"], { ...this.#common, circuit: "circuit.json" }),
    ].join(" && ");
  });

  /** The lines that write a checkpoint with the heads of what is left alone; undefined while there is no circuit. */
  get checkpointCommand(): string | undefined {
    const { file } = this;
    if (file === undefined) return undefined;
    return [
      fileLine("circuit.json", file),
      command(["circuit", "export", "mask"], { circuit: "circuit.json", out: "mask.json" }),
      command(["export", "pruned-checkpoint"], { model: workspace.model, mask: "mask.json", out: "pruned" }),
    ].join(" && ");
  }

  /** Switches nodes off, with all their edges, or on again where all of them are off; a step of undo. */
  switchNodes(names: readonly string[]): void {
    const on = names.filter((name) => !this.off.includes(name));
    offParam.value = (on.length > 0 ? on : names).reduce((off, name) => switchNode(name, off), [...this.off]);
  }

  /** Switches edges off, or on again where all of them are off; a step of undo. */
  switchEdges(edges: readonly Edge[]): void {
    const on = edges.filter((edge) => !isOff(edge, this.off));
    offParam.value = (on.length > 0 ? on : edges).reduce(
      (off, edge) => switchEdge(edge, off, this.edges),
      [...this.off],
    );
  }

  /** Switches something on again, default all. */
  switchOn(name?: string): void {
    offParam.value = name === undefined ? [] : this.off.filter((each) => each !== name);
  }

  /** The circuit of what is left, as a file holds it. */
  get file(): Circuit | undefined {
    const { value } = this.answer;
    if (value === undefined) return undefined;
    const nodes = new Set(this.left.flatMap(({ from, to }) => [from, nodeName(to)]));
    const groups = this.groups
      .map((group) => ({ ...group, nodes: group.nodes.filter((node) => nodes.has(node)) }))
      .filter((group) => group.nodes.length > 0);
    const names = Object.fromEntries(Object.entries(this.names).filter(([node]) => nodes.has(node)));
    return {
      ...value.circuit,
      edges: [...this.left],
      ...(Object.keys(names).length > 0 ? { names } : {}),
      ...(groups.length > 0 ? { groups } : {}),
    };
  }

  /** Gives a node a name, with "" none; a step of undo. */
  call(node: string, name: string): void {
    const { [node]: _, ...others } = this.names;
    namesParam.value = name.trim() === "" ? others : { ...others, [node]: name.trim() };
  }

  /** Puts a node into a group, with "" into none; a step of undo. */
  group(node: string, name: string): void {
    groupsParam.value = withNodeIn(this.groups, node, name);
  }

  /** Puts a node into a new group. @returns its name */
  groupAlone(node: string, wanted = "group"): string {
    const name = freeName(this.groups, wanted);
    this.group(node, name);
    return name;
  }

  /** Gives a group another name; one that another group has is left. */
  renameGroup(from: string, to: string): void {
    const name = to.trim();
    if (name === "" || this.groups.some((group) => group.name === name)) return;
    groupsParam.value = this.groups.map((group) => (group.name === from ? { ...group, name } : group));
  }

  /** Takes a group apart. */
  ungroup(name: string): void {
    groupsParam.value = this.groups.filter((group) => group.name !== name);
  }

  /** Takes the heads of each role that are drawn together, in place of all groups there are; a step of undo. */
  groupByRole(): void {
    const drawn = new Set(this.edges.flatMap(({ from, to }) => [from, nodeName(to)]));
    const groups = new Map<string, string[]>();
    for (const [head, role] of this.roleOf) {
      const node = `a${head.replace(".", ".h")}`;
      if (drawn.has(node)) groups.set(role, [...(groups.get(role) ?? []), node]);
    }
    groupsParam.value = [...groups].map(([name, nodes]) => ({ name, nodes }));
  }

  /** Keeps to the circuit of the pairs and the method, and to the run of what is left of it; run in an effect. */
  follow(): void {
    const { request } = this;
    patching.align();
    const idle = request === undefined || patching.problem !== undefined;
    const ask =
      patching.alignments.value &&
      request &&
      ((call: CallOptions) => this.#hear<CircuitAnswer>("/api/circuits", request, call));
    const question = idle ? undefined : [workspace.info.value?.digest, request];
    const after = patching.alignments as Answer<unknown>;
    this.answer.follow(question, ask, { pause: PAUSE, patience: PATIENCE, after });
    this.#follow(this.#drawn, question, this.edges);
    this.#follow(this.#left, this.off.length === 0 ? undefined : question, this.left);
    this.#followRoles(question);
  }

  /** Keeps to the roles of the heads of the whole circuit; they are asked for when the drawn edges have been run. */
  #followRoles(question: unknown): void {
    const { request } = this;
    const { value } = this.answer;
    const nodes = value?.circuit.edges.flatMap(({ from, to }) => [from, to]) ?? [];
    const heads = sortHeads(nodes.flatMap((name) => headOf(nodeOf(name)) ?? []));
    const ready = value !== undefined && this.run.state === "ready";
    const ask =
      ready && request && heads.length > 0
        ? (call: CallOptions) => {
            const { model, pairs, metric: name = METRICS[0] } = request;
            // KL tells no better answer from a worse one, which parts the movers from the negative ones.
            const metric = name === "kl" ? METRICS[0] : name;
            const body: HeadRolesRequest = { model, pairs, ...patching.bos, metric, heads };
            return this.#hear<HeadRolesAnswer>("/api/circuit-roles", body, call);
          }
        : undefined;
    // Once known they stay while edges are switched: they are those of the question, not of what is left.
    const known = value === undefined || heads.length > 0 ? question : undefined;
    this.roles.follow(known && [known, "roles"], ask, { patience: PATIENCE, after: this.answer as Answer<unknown> });
  }

  /** Keeps to the run of some of the circuit's edges. @param question of the circuit */
  #follow(answer: Answer<Ran>, question: unknown, edges: readonly Edge[]): void {
    const { request } = this;
    const some = edges.map(({ from, to }) => ({ from, to }));
    const ask =
      this.answer.value &&
      request &&
      (async (call: CallOptions): Promise<Ran> => {
        const { model, pairs, metric: name = METRICS[0] } = request;
        const body: CircuitRunRequest = { model, pairs, ...patching.bos, metric: name, edges: some };
        const { alignment } = patching;
        const answers =
          alignment && pairs.length === 1 ? ([alignment.answer.text, alignment.wrong.text] as const) : undefined;
        return { ...(await post<CircuitRunAnswer>("/api/circuit-runs", body, call)), name, answers };
      });
    const after = this.answer as Answer<unknown>;
    answer.follow(question && [question, some], ask, { pause: RUN_PAUSE, after });
  }

  /** Asks for something that takes a while, and hears of it on the way: the server's queue says how far it is. */
  async #hear<T>(path: string, request: unknown, call: CallOptions): Promise<T> {
    for await (const { event, data } of stream(path, request, call)) if (event === "done") return data as T;
    throw new ApiError(problem("network", "Not done", "the server ended without an answer", "ask again"));
  }
}

export const circuits = new Circuits();
