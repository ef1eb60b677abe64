import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { WeightType } from "../../../../backend/common/words.ts";
import { hasKernels } from "../../../../backend/kernels/kernels.ts";
import { describeCheckpoint } from "../../../../backend/models/families/index.ts";
import { openCheckpoint } from "../../../../backend/models/formats/open.ts";
import { inspectModel, loadModel } from "../../../../backend/models/load.ts";
import { availableMemory, checkMemory, estimateMemory } from "../../../../backend/models/sources/memory.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { functions } from "../../../../backend/runtime/capture.ts";
import { hasNative } from "../../../../backend/runtime/ops.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { failure } from "../../../helpers/errors.ts";
import { fixture } from "../../../helpers/fixtures.ts";

beforeAll(() => initBackend());
afterAll(() => functions.clear());

async function estimateOf(name: string) {
  const checkpoint = await openCheckpoint(fixture(`formats/${name}`));
  try {
    const { config, parts } = describeCheckpoint(checkpoint);
    return estimateMemory(config, parts, checkpoint, hasKernels());
  } finally {
    await checkpoint.close();
  }
}

describe("the memory of a model", () => {
  it.each(["llama-tiny", "llama-tiny.gguf"])(
    "of %s is told from its header, for every way to hold weights",
    async (name) => {
      const estimate = await estimateOf(name);
      for (const weights of hasNative() ? (["f32", "q8", "bf16"] as const) : (["f32"] as const)) {
        const model = await loadModel(fixture(`formats/${name}`), { weights });
        expect(model.bytes).toBe(estimate.weights[weights]);
        expect(estimate.peak[weights]).toBeGreaterThan(model.bytes);
        model.dispose();
      }
      expect(estimate.weights.f32).toBe(4 * estimate.parameters);
    },
  );

  it("is in an inspection, which reads no weights and makes no tensors", async () => {
    const before = tf.memory().numTensors;
    const found = await inspectModel(fixture("formats/llama-tiny.gguf"));
    expect(found).toMatchObject({
      family: "llama",
      config: { n_layers: 2 },
      memory: await estimateOf("llama-tiny.gguf"),
    });
    expect(found.stored).toContain("F32");
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe("a load that cannot fit", () => {
  const GB = 1e9;
  const seventeen = {
    parameters: 1.7 * GB,
    weights: { f32: 6.8 * GB, q8: 6.8 * GB, bf16: 3.4 * GB },
    peak: { f32: 7.4 * GB, q8: 7.4 * GB, bf16: 4.2 * GB },
  };
  const refusal = (type: WeightType, free: number) =>
    failure(() => checkMemory("model.safetensors", seventeen, type, free));

  it("is refused with the estimate, what is free and what would fit", async () => {
    const error = await refusal("f32", 6 * GB);
    expect(error.kind).toBe("unsupported");
    expect(error.line).toBe(
      "model.safetensors needs 7.4 GB to load in f32 (6.8 GB of weights), and 6.0 GB of memory are free; --weights bf16 needs 4.2 GB",
    );
    expect((await refusal("bf16", 800e6)).line).toContain(
      "800 MB of memory are free; free memory, or choose a smaller model",
    );
    expect(() => checkMemory("model.safetensors", seventeen, "bf16", 6 * GB)).not.toThrow();
  });

  it("ends before a weight is read, and leaves nothing behind", async () => {
    const before = tf.memory().numTensors;
    const error = await failure(() => loadModel(fixture("formats/llama-tiny"), { memory: 50_000 }));
    expect(error.message).toContain("0 MB of memory are free");
    expect(tf.memory().numTensors).toBe(before);
  });

  it("is told from HEADSCOPE_MEMORY where it is set, else from the machine", async () => {
    expect(availableMemory({ HEADSCOPE_MEMORY: "6GB" })).toBe(6 * GB);
    expect(availableMemory({ HEADSCOPE_MEMORY: "1500 mb" })).toBe(1.5 * GB);
    expect(availableMemory({})).toBeGreaterThan(10e6);
    expect((await failure(() => availableMemory({ HEADSCOPE_MEMORY: "much" }))).message).toContain('cannot be "much"');
  });
});
