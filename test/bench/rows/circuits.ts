import { runCircuit } from "../../../backend/circuits/edges/run-circuit.ts";
import { gradient } from "../../../backend/circuits/gradients/gradient.ts";
import { patch } from "../../../backend/circuits/patching/patch.ts";
import { Children, ownCommand, pythonCommand, type Side } from "../children/run.ts";
import type { Bench } from "../measure.ts";
import { ids, timedForward } from "../runs.ts";
import { MODEL, type Setting } from "../setting.ts";

/** What a process that scores edges says (children/eap-ig.ts, eap_ig.py). */
interface Scored {
  ms: number;
  peakBytes: number;
}

/** Gradients, patching and circuits, against whole runs of the model and against the field's own tools. */
export function circuitRows(setting: Setting): Bench[] {
  const unit = "ms";
  const plain =
    (n: number, times = 1) =>
    async () =>
      times * timedForward(await setting.model("f32"), { tokens: ids(1, n) });
  return [
    ...[15, 101].map((n) => ({
      name: `gradient at every head, ${n} tokens`, unit, rival: "bare forward", goal: 2.5,
      ours: headGradients(setting, n), theirs: plain(n),
    })),
    {
      name: "270 heads patched, 15 tokens", unit, rival: "270 bare forwards", goal: 1 / 3,
      ours: patchHeads(setting), theirs: plain(15, 270),
    },
    {
      name: "270 heads patched, 15 tokens, TransformerLens", unit, rival: "TransformerLens, 27 a batch", goal: 1,
      ours: patchHeads(setting),
      theirs: async () => setting.rivals?.measure("tl-patch-heads-15", (await setting.pairs()).path),
    },
    ...eapIgRows(setting),
    {
      name: "circuit run of all edges, 15 tokens", unit, rival: "bare forward", goal: 12,
      ours: circuitRun(setting), theirs: plain(15),
    },
  ]; // biome-ignore format: a table
}

/** A metric's gradient with respect to the outputs of all heads. */
function headGradients(setting: Setting, n: number): () => Promise<number> {
  return async () => {
    const model = await setting.model("f32");
    const began = performance.now();
    const metric = { name: "logit-diff", answers: [100], wrong: [200] } as const;
    const { gradients } = gradient(model, { tokens: ids(1, n) }, metric, (name) => name.endsWith("attn.hook_z"));
    gradients.get("blocks.0.attn.hook_z").dataSync();
    gradients.dispose();
    return performance.now() - began;
  };
}

/** Every head's z patched from the clean into the corrupt run of a pair; both plain runs are part of it. */
function patchHeads(setting: Setting): () => Promise<number> {
  return async () => {
    const [model, pair] = [await setting.model("f32"), (await setting.pairs()).ofLength(15)];
    const began = performance.now();
    await patch(model, { pairs: [pair], node: "z", by: "head" });
    return performance.now() - began;
  };
}

/**
 * EAP-IG over 32 pairs against the package of that name, each in a process of its own whose first run is not counted; time and
 * memory are of the same process.
 */
function eapIgRows(setting: Setting): Bench[] {
  const { python, gguf, eapIg } = setting.given;
  let scores: Children<Scored> | undefined;
  const children = async (): Promise<Children<Scored>> => {
    const { path } = await setting.pairs();
    scores ??= new Children<Scored>({
      ours: ownCommand("bench-eap-ig", MODEL, path),
      theirs:
        python && eapIg ? pythonCommand(python, "eap_ig.py", path, "--gguf", gguf, "--package", eapIg) : undefined,
    });
    return scores;
  };
  const time = (side: Side) => async () => {
    const took = (await children()).fresh(side)?.ms;
    if (took === undefined)
      process.stderr.write("bench: EAP-IG's rows have no rival: name it by --rivals and --eap-ig\n");
    return took === undefined ? undefined : took / 1e3;
  };
  const peak = (side: Side) => async () => {
    const held = (await children()).last(side)?.peakBytes;
    return held === undefined ? undefined : held / 1e6;
  };
  const own = (measure: () => Promise<number | undefined>) => async () => (await measure())!;
  const name = "EAP-IG, 5 steps, 32 IOI pairs";
  const rival = "the EAP-IG package";
  return [
    { name, unit: "s", rival, goal: 1, once: true, ours: own(time("ours")), theirs: time("theirs") },
    { name: `${name}, peak memory`, unit: "MB", rival, goal: 0.5, once: true, ours: own(peak("ours")), theirs: peak("theirs") },
  ]; // biome-ignore format: a table
}

/** A run of every edge of the model, each as it would be with fewer: both whole runs of the pair are part of it. */
function circuitRun(setting: Setting): () => Promise<number> {
  return async () => {
    const model = await setting.model("f32");
    const began = performance.now();
    const [clean, corrupt] = [ids(1, 15)[0]!, ids(1, 15)[0]!.toReversed()];
    await runCircuit(model, { pairs: [{ clean, corrupt, answer: 100, wrong: 200 }], circuit: { without: [] } });
    return performance.now() - began;
  };
}
