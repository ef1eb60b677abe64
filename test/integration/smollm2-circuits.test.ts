import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { attribute } from "../../backend/circuits/attribution/direct.ts";
import { lens } from "../../backend/circuits/attribution/lens.ts";
import { findCircuit } from "../../backend/circuits/edges/find-circuit.ts";
import { circuitCurve, runCircuit } from "../../backend/circuits/edges/run-circuit.ts";
import { gradient } from "../../backend/circuits/gradients/gradient.ts";
import { pairMetric } from "../../backend/circuits/metrics/measure.ts";
import { patch } from "../../backend/circuits/patching/patch.ts";
import { patchPaths } from "../../backend/circuits/patching/path.ts";
import { functionVector } from "../../backend/circuits/vectors/function-vector.ts";
import { steer } from "../../backend/circuits/vectors/steer.ts";
import { headWeights } from "../../backend/circuits/weights/head-weights.ts";
import { EDGE_GROUPS } from "../../backend/common/words.ts";
import { parseHeads } from "../../backend/heads/refs.ts";
import { forward } from "../../backend/models/forward/forward.ts";
import type { Model } from "../../backend/models/model.ts";
import { circuitOracle, ORACLE_METHODS, summary } from "../helpers/oracles/circuits.ts";
import { farthest } from "../helpers/oracles/differences.ts";
import { havePulled, loadSmollm2, onSmolLm2 } from "../helpers/smollm2.ts";

const PLACES = { z: "head", mlp_out: "layer", resid_pre: "position" } as const;

/** All edges by destination (layer, head, q k v, then the MLP, last the logits), then source. */
function edgesInOrder(layers: number, heads: number): string[] {
  const [sources, edges] = [["embed"], [] as string[]];
  const into = (destination: string): number => edges.push(...sources.map((source) => `${source}->${destination}`));
  for (let l = 0; l < layers; l++) {
    const own = Array.from({ length: heads }, (_, h) => `a${l}.h${h}`);
    for (const head of own) for (const part of ["q", "k", "v"]) into(`${head}<${part}>`);
    sources.push(...own);
    into(`m${l}`);
    sources.push(`m${l}`);
  }
  into("logits");
  return edges;
}

describe.skipIf(!havePulled)(onSmolLm2("circuits of SmolLM2 are PyTorch's"), () => {
  const oracle = circuitOracle("smollm2");
  const chosen = (which: readonly number[]) => which.map((p) => oracle.pairs[p]!);
  const edge = (name: number | string) => {
    const [from, to] = String(name).split("->") as [string, string];
    return { from, to };
  };
  let model: Model;
  beforeAll(async () => {
    model = await loadSmollm2();
  });
  afterAll(() => model?.dispose());

  it("gradients of four metrics at every hook point of four layers", () => {
    const pair = oracle.pairs[0]!;
    const clean = forward(model, { tokens: [pair.clean], logitsAt: "last" });
    for (const [metric, { prompt, value, points }] of Object.entries(oracle.gradients)) {
      const options = pairMetric(metric as keyof typeof oracle.gradients, [pair], clean.logits!);
      const found = gradient(model, { tokens: [pair[prompt]] }, options, Object.keys(points));
      expect(farthest(found.values[0], value), metric).toBeLessThan(1e-4);
      for (const [point, expected] of Object.entries(points)) {
        const values = found.gradients.get(point).dataSync();
        const own = summary(values);
        const size = Math.max(1, expected.norm);
        expect(Math.abs(own.norm - expected.norm) / size, `${metric}, ${point}, norm`).toBeLessThan(1e-4);
        // A sum of thousands of entries gathers the rounding of each.
        expect(Math.abs(own.dot - expected.dot) / size, `${metric}, ${point}, dot`).toBeLessThan(1e-3);
        if (!expected.last) continue;
        const end = values.slice(-values.length / pair[prompt].length).slice(0, expected.last.length);
        expect(farthest([...end], expected.last) / size, `${metric}, ${point}, last`).toBeLessThan(1e-4);
      }
      found.gradients.dispose();
    }
    clean.dispose();
  });

  it("direct attribution and the lens", async () => {
    for (const { pairs, ...expected } of oracle.attribution)
      expect(farthest(await attribute(model, { prompts: chosen(pairs) }), expected)).toBeLessThan(1e-4);
    for (const { position, rows } of oracle.lens) {
      const found = await lens(model, { prompts: [oracle.pairs[0]!], position });
      expect(farthest(found.rows, rows)).toBeLessThan(1e-4);
    }
  });

  it.each(["exact", "attribution"] as const)("patching by the %s method", async (method) => {
    for (const { pairs, direction, clean, corrupt, layers, ...tables } of oracle.patch)
      for (const node of ["z", "mlp_out", "resid_pre"] as const) {
        const whole = tables[node]![method];
        // By position the oracle has some layers; of the heads in the noise direction these are enough too.
        const fewer = layers && whole.length === model.config.n_layers && direction === "noise";
        const patched = fewer ? layers.map((layer) => whole[layer]) : whole;
        const some = layers && (fewer || node === "resid_pre") ? { layers } : {};
        const found = await patch(model, { pairs: chosen(pairs), node, by: PLACES[node], method, direction, ...some });
        expect(farthest(found, { clean, corrupt, patched }), `${node} ${direction}`).toBeLessThan(1e-4);
      }
  });

  it("path patching", async () => {
    // Of the other combinations the families have every one.
    const several = oracle.paths.filter(
      ({ into, kvGroup, direction }) => into.length > 1 && !(kvGroup && direction === "noise"),
    );
    for (const { pairs, values, ...options } of several) {
      const { patched } = await patchPaths(model, { pairs: chosen(pairs), ...options });
      const found = options.from.map((name) => {
        const [layer, head] = name.split(".").map(Number) as [number, number];
        return patched[layer]![head];
      });
      expect(farthest(found, values), JSON.stringify(options)).toBeLessThan(1e-4);
    }
  });

  it.each(ORACLE_METHODS.filter((method) => method !== "eap-gp"))("edges by %s", async (method) => {
    for (const { pairs, clean, corrupt, total, edges, scores, totals } of oracle.edges) {
      // Exact scores are a run an edge: every third of them.
      const places = edges!.map((_, i) => i).filter((i) => method !== "exact" || i % 3 === 0);
      const edgesFrom = method === "exact" ? { edgesFrom: { edges: places.map((i) => edge(edges![i]!)) } } : {};
      const circuit = await findCircuit(model, { pairs: chosen(pairs), method, edges: "all", ...edgesFrom });
      expect([circuit.total, farthest(circuit, { clean, corrupt }) < 1e-4]).toEqual([total, true]);
      const found = new Map(circuit.edges.map(({ from, to, score }) => [`${from}->${to}`, score]));
      expect(
        farthest(
          places.map((i) => found.get(String(edges![i]))),
          places.map((i) => scores[method]![i]),
        ),
      ).toBeLessThan(1e-4);
      if (method === "exact") continue;
      for (const group of EDGE_GROUPS) {
        const [own, expected] = [circuit.totals[group]!, totals[method]![group]!];
        expect(own.edges).toBe(expected.edges);
        // A sum of thousands of rounded scores.
        expect(Math.abs(own.sum - expected.sum)).toBeLessThan(1e-4 * Math.sqrt(own.edges));
        expect(Math.abs(own.sumAbs - expected.sumAbs)).toBeLessThan(1e-4 * Math.sqrt(own.edges));
      }
    }
  });

  it("circuits' runs, their curve, and their two ends", async () => {
    const { pairs: which, runs, curve } = oracle.circuit;
    const pairs = chosen(which);
    const { n_layers, n_heads } = model.config;
    const names = edgesInOrder(n_layers, n_heads);
    for (const { rule, without, metric, faithfulness, count } of runs) {
      // A rule such as "i * 7919 % 1000 < 700".
      const kept = rule && names.filter((_, i) => (i * 7919) % 1000 < Number(rule.split("<")[1]));
      const circuit = kept ? { edges: kept.map(edge) } : { without: without!.map(edge) };
      const found = await runCircuit(model, { pairs, circuit });
      expect(farthest(found, { metric, faithfulness, edges: count })).toBeLessThan(1e-4);
    }
    const { sizes, order, ...expected } = curve;
    const found = await circuitCurve(model, { pairs, circuit: { edges: order.map(edge) }, sizes });
    expect(farthest(found, expected)).toBeLessThan(1e-4);
    const whole = await runCircuit(model, { pairs, circuit: { without: [] } });
    const none = await runCircuit(model, { pairs, circuit: { edges: [] } });
    expect([whole.metric - whole.clean, none.metric - none.corrupt].every((off) => Math.abs(off) < 1e-4)).toBe(true);
  });

  it("heads by their weights", async () => {
    const { heads, composition, tokenPairs } = oracle.heads.raw;
    const shape = { layers: model.config.n_layers, heads: model.config.n_heads };
    const named = await parseHeads(heads.map(({ head }) => head).join(), shape);
    const found = await headWeights(model, { heads: named });
    expect(farthest(found.heads, heads)).toBeLessThan(1e-4);
    const ends = composition.map(({ from, to }) => found.composition.find((own) => own.from === from && own.to === to));
    expect(farthest(ends, composition)).toBeLessThan(1e-4);
    const count = tokenPairs[0]!.pairs.length;
    const pairs = await headWeights(model, { heads: named.slice(0, tokenPairs.length), tokenPairs: count });
    expect(
      farthest(
        pairs.tokenPairs!.map(({ pairs: best }) => best),
        tokenPairs.map(({ pairs: best }) => best),
      ),
    ).toBeLessThan(1e-4);
  });

  it("a function vector, and steering", async () => {
    const { cases, top, values, heads, vector, perCase, zeroShot } = oracle.functionVector;
    const layers = Object.keys(zeroShot).filter((layer) => layer !== "none");
    const found = await functionVector(model, { cases, top, layers: layers.map(Number) });
    const mean = values.map((row, l) =>
      row.map((_, h) => found.effects.reduce((sum, table) => sum + table[l]![h]!, 0) / cases.length),
    );
    expect(farthest({ ...found, mean }, { mean: values, top: heads, vector, perCase, zeroShot })).toBeLessThan(1e-4);
    for (const { rows: tokens, layer, positions, scale, ...expected } of oracle.steering) {
      const direction = Array.from({ length: model.config.d_model }, (_, i) => 3 * Math.sin(i));
      const { norm, residNorm, base, steered } = await steer(model, {
        tokens,
        vector: direction,
        layer,
        positions,
        scale,
        top: 5,
      });
      const { norm: n, residNorm: r, base: b, steered: s } = expected;
      expect(farthest({ norm, residNorm, base, steered }, { norm: n, residNorm: r, base: b, steered: s })).toBeLessThan(
        1e-3,
      );
    }
  });
});
