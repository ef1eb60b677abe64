import { beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { circuits } from "../../../frontend/src/circuits/circuits.svelte.ts";
import { circuitFiles } from "../../../frontend/src/circuits/files.ts";
import { circuitGraph } from "../../../frontend/src/circuits/graph/graph.ts";
import { graphSvg } from "../../../frontend/src/circuits/graph/svg.ts";
import { edgesParam, offParam } from "../../../frontend/src/circuits/params.ts";
import { isOff, switchEdge, switchNode } from "../../../frontend/src/circuits/switches.ts";
import { patching } from "../../../frontend/src/patching/patching.svelte.ts";
import { view } from "../../../frontend/src/state/url.svelte.ts";
import { workspace } from "../../../frontend/src/state/workspace.svelte.ts";
import { patiently } from "../../helpers/runner/patience.ts";

const edges = [
  { from: "embed", to: "a0.h1<v>", score: -3 },
  { from: "a0.h1", to: "a1.h0<k>", score: -2 },
  { from: "a0.h1", to: "a1.h0<q>", score: 0.5 },
  { from: "a1.h0", to: "logits", score: -1 },
];
const names = (some: readonly { from: string; to: string }[]) => some.map(({ from, to }) => `${from} ${to}`);
const left = (off: readonly string[]) => names(edges.filter((edge) => !isOff(edge, off)));

describe("an edge or a node that is switched", () => {
  it("off leaves all others on; switched again it is back", () => {
    const off = switchEdge(edges[1]!, [], edges);
    expect(left(off)).toEqual(names(edges.filter((edge) => edge !== edges[1])));
    expect(switchEdge(edges[1]!, off, edges)).toEqual([]);
  });

  it("takes all edges from and into a node along, whatever input they go into", () => {
    expect(left(switchNode("a1.h0", []))).toEqual(["embed a0.h1<v>"]);
    expect(switchNode("a1.h0", switchNode("a1.h0", []))).toEqual([]);
  });

  it("on comes back alone where its node is off", () => {
    const off = switchEdge(edges[1]!, ["a1.h0"], edges);
    expect(left(off)).toEqual(["embed a0.h1<v>", "a0.h1 a1.h0<k>"]);
    expect(left(switchEdge(edges[1]!, ["a0.h1", "a1.h0"], edges))).toEqual(["a0.h1 a1.h0<k>"]);
  });
});

const circuit = {
  format: "headscope.circuit/1",
  model: { ref: "ids", layers: 2, heads: 2, kvHeads: 2 },
  method: "eap-ig",
  params: { steps: 5 },
  clean: 4,
  corrupt: -2,
  total: 40,
  edges,
  totals: {},
} as const;

describe("a circuit as files and as a picture", () => {
  const of = async (label: string) =>
    circuitFiles(circuit as never, undefined, false)
      .find((file) => file.label === label)!
      .content();

  it("has as many arrows as edges", async () => {
    expect((await of("DOT")).match(/->/g)).toHaveLength(edges.length);
    expect((await of("GraphML")).match(/<edge /g)).toHaveLength(edges.length);
    expect(JSON.parse(await of("Circuit file"))).toEqual(circuit);
  });

  it("is a mask that the server makes, without the heads of other places", async () => {
    const asked: unknown[] = [];
    vi.stubGlobal("fetch", (path: string, init: RequestInit) => {
      asked.push([path, JSON.parse(String(init.body))]);
      return Promise.resolve(Response.json({ mask: { format: "headscope.head-mask/1" } }));
    });
    expect(JSON.parse(await of("Head mask"))).toEqual({ format: "headscope.head-mask/1" });
    expect(asked).toEqual([["/api/masks", { model: "ids", ablate: ["0.0", "1.1"] }]]);
  });

  it("is shown to Neuronpedia over the clean prompt with its answer", async () => {
    const clean = { ids: [1, 2], tokens: ["1", "2"] };
    const answer = { id: 7, text: "7", probability: 0.25 };
    const alignment = { clean, corrupt: clean, differ: [], answer, wrong: answer };
    const files = circuitFiles(circuit as never, alignment, false);
    const graph = JSON.parse(await files.find(({ label }) => label === "Neuronpedia")!.content()) as {
      metadata: { prompt: string };
      nodes: { clerp: string }[];
    };
    expect(graph.metadata.prompt).toBe("1 2");
    expect(graph.nodes.map(({ clerp }) => clerp)).toContain("7 (p=0.250)");
  });

  it("draws what is switched off dashed", () => {
    const drawn = graphSvg(circuitGraph(edges, { heads: 2 }), { off: ["a1.h0"] });
    expect(drawn.match(/<path /g)).toHaveLength(4);
    expect(drawn.match(/<path [^>]*stroke-dasharray/g)).toHaveLength(3);
    expect(drawn.match(/<rect [^>]*stroke-dasharray/g)).toHaveLength(1);
  });
});

describe("the run of what is left", () => {
  const asked: { edges: { from: string; to: string }[]; answer: (metric: number) => void }[] = [];
  const token = { id: 1, text: "1", probability: 0.5 };
  const side = { ids: [0, 1], tokens: ["0", "1"] };
  const ANSWERS: Record<string, unknown> = {
    "/api/models": [{ ref: "ids", title: "ids", kind: "constructed", ready: true }],
    "/api/models/ids": {
      ...{ ref: "ids", family: "llama", digest: "sha256:ids", layers: 2, heads: 2, kvHeads: 2 },
      config: { d_vocab: 100, n_ctx: 64 },
    },
    "/api/pairs": { clean: side, corrupt: side, differ: [], answer: token, wrong: token },
    "/api/prompts": { next: [] },
  };

  function answered(path: string, init?: RequestInit): Promise<Response> {
    if (path === "/api/circuits") {
      const done = { circuit, curve: { clean: 4, corrupt: -2, total: 40, curve: [], cpr: null, cmd: null }, ms: 1 };
      return Promise.resolve(new Response(`event: done\ndata: ${JSON.stringify(done)}\n\n`));
    }
    if (path !== "/api/circuit-runs") return Promise.resolve(Response.json(ANSWERS[path] ?? []));
    const { edges } = JSON.parse(String(init?.body)) as { edges: { from: string; to: string }[] };
    return new Promise((resolve) => {
      const answer = (metric: number): void =>
        resolve(
          Response.json({ clean: 4, corrupt: -2, metric, faithfulness: 0.5, edges: edges.length, total: 40, ms: 1 }),
        );
      asked.push({ edges, answer });
    });
  }

  const until = (check: () => void) =>
    vi.waitFor(() => {
      workspace.follow();
      circuits.follow();
      check();
    }, patiently(5_000));

  beforeAll(async () => {
    vi.stubGlobal("fetch", answered);
    workspace.open();
    workspace.model = "ids";
    await until(() => expect(workspace.info.value?.ref).toBe("ids"));
  });
  beforeEach(() => {
    offParam.value = [];
  });

  it("stands under the very set of edges that it is of, also after undo", async () => {
    await until(() => expect(asked).toHaveLength(1));
    expect(patching.pairs).toHaveLength(1);
    expect(names(asked[0]!.edges)).toEqual(names(edges));
    asked[0]!.answer(3);
    await until(() => expect(circuits.run.value?.metric).toBe(3));

    // Longer than what counts as one step of undo.
    await new Promise((resolve) => setTimeout(resolve, 300));
    circuits.switchNodes(["a1.h0"]);
    circuits.follow();
    expect(circuits.run.value).toBeUndefined();
    await until(() => expect(asked).toHaveLength(2));
    expect(names(asked[1]!.edges)).toEqual(["embed a0.h1<v>"]);
    asked[1]!.answer(-1);
    await until(() => expect(circuits.run.value?.metric).toBe(-1));
    expect(circuits.whole?.metric).toBe(3);
    expect(circuits.command).toContain('{"edges":[{"from":"embed","to":"a0.h1<v>"}]}');
    expect(circuits.command).toContain("circuit run --model ids --pair-file pair.json --circuit left.json");
    expect(new URL(location.href).searchParams.get("circuit-off")).toBe("a1.h0");

    view.undo();
    circuits.follow();
    expect(circuits.off).toEqual([]);
    expect(circuits.run.value?.metric).toBe(3);
  });

  it("forgets what is switched off that is not drawn", () => {
    offParam.value = ["a1.h0", "a7.h7", "embed-logits"];
    expect(circuits.off).toEqual(["a1.h0"]);
    edgesParam.value = 1;
    expect(circuits.off).toEqual([]);
    edgesParam.value = 20;
    expect(circuits.off).toEqual(["a1.h0"]);
  });
});
