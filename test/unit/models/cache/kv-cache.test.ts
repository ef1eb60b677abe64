import type { Tensor } from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";
import { heldPositions, KvCache, slotOf } from "../../../../backend/models/cache/kv-cache.ts";
import { LONG, TRIAL } from "../../../../backend/models/cache/long-attention.ts";
import { forward } from "../../../../backend/models/forward/forward.ts";
import type { Model } from "../../../../backend/models/model.ts";
import type { Window } from "../../../../backend/models/transformer/attention.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { maxDifference, randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";

const backend = await initBackend();
let model: Model;
beforeAll(() => {
  model = randomModel(smallConfig());
});

describe("slots of a streaming head", () => {
  it("hold exactly the sinks and the recent positions, each in its slot", () => {
    for (const window of [
      { sink: 0, recent: 1 },
      { sink: 2, recent: 3 },
      { sink: 4, recent: 5 },
    ]) {
      for (let length = 0; length < 40; length++) {
        const held = heldPositions(length, window);
        const wanted = Array.from({ length }, (_, p) => p).filter(
          (p) => p < window.sink || p >= length - window.recent,
        );
        expect([...held].sort((a, b) => a - b)).toEqual(wanted);
        held.forEach((p, slot) => {
          expect(slotOf(p, window)).toBe(slot);
        });
      }
    }
  });
});

describe("ring buffers against the masked full forward", () => {
  const window: Window = { sink: 2, recent: 5 };
  const windows = [
    [undefined, window],
    [window, window],
    [window, undefined],
  ];

  it("agree at every offset of the wrap-around, after prefills of every length", () => {
    const total = 26;
    const tokens = randomTokens(1, total, 96);
    const whole = forward(model, { tokens, windows });
    for (let prefill = 1; prefill < total - 1; prefill++) {
      const cache = new KvCache(model.config, { capacity: 32, windows });
      const first = forward(model, { tokens: [tokens[0]!.slice(0, prefill)], cache });
      expect(
        maxDifference(first.logits!, whole.logits!.slice([0, 0, 0], [1, prefill, 96])),
        `prefill ${prefill}`,
      ).toBeLessThan(3e-4);
      first.dispose();
      for (let t = prefill; t < total; t++) {
        const step = forward(model, { tokens: [[tokens[0]![t]!]], cache });
        expect(
          maxDifference(step.logits!, whole.logits!.slice([0, t, 0], [1, 1, 96])),
          `prefill ${prefill}, token ${t}`,
        ).toBeLessThan(3e-4);
        step.dispose();
      }
      cache.dispose();
    }
  });

  it("agree over several chunks of prefill, and for the op-by-op path", () => {
    const tokens = randomTokens(1, 40, 96, 3);
    const whole = forward(model, { tokens, windows });
    for (const captured of [true, false]) {
      const cache = new KvCache(model.config, { capacity: 64, windows });
      for (const [from, to] of [
        [0, 3],
        [3, 16],
        [16, 17],
        [17, 40],
      ] as const) {
        const part = forward(model, { tokens: [tokens[0]!.slice(from, to)], cache }, { captured });
        expect(
          maxDifference(part.logits!, whole.logits!.slice([0, from, 0], [1, to - from, 96])),
          `${captured} ${from}`,
        ).toBeLessThan(3e-4);
        part.dispose();
      }
      cache.dispose();
    }
  });

  it.skipIf(backend.name !== "tensorflow")("allocate sink + recent slots only, and free them", () => {
    const before = tf.memory().numTensors;
    const cache = new KvCache(model.config, { capacity: 64, windows });
    const perSlot = model.config.d_head * 2 * 4;
    expect(cache.bytes).toBe((2 * 64 + 4 * 7) * perSlot);
    expect(cache.bytesFull).toBe(6 * 64 * perSlot);
    cache.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe("hooks during generation", () => {
  it("see what the full forward shows, captured and op by op", () => {
    const tokens = randomTokens(1, 12, 96, 5);
    const names = [
      "blocks.1.attn.hook_pattern",
      "blocks.2.attn.hook_z",
      "blocks.0.mlp.hook_post",
      "blocks.2.hook_resid_post",
    ];
    const whole = forward(model, { tokens }, { names });
    for (const hooked of [false, true]) {
      const cache = new KvCache(model.config, { capacity: 32 });
      forward(model, { tokens: [tokens[0]!.slice(0, 8)], cache }).dispose();
      for (let t = 8; t < 12; t++) {
        const step = forward(
          model,
          { tokens: [[tokens[0]![t]!]], cache },
          { names, ...(hooked ? { hooks: [[() => true, () => undefined]] } : {}) },
        );
        const pattern = whole.activations.get(names[0]!)!.slice([0, 0, t, 0], [1, 6, 1, t + 1]);
        expect(maxDifference(step.activations.get(names[0]!)!, pattern)).toBeLessThan(1e-4);
        for (const name of names.slice(1)) {
          const full = whole.activations.get(name)!;
          const size = [1, 1, ...full.shape.slice(2)];
          expect(
            maxDifference(step.activations.get(name)!, full.slice([0, t, ...size.slice(2).map(() => 0)], size)),
            name,
          ).toBeLessThan(5e-4);
        }
        step.dispose();
      }
      cache.dispose();
    }
  });
});

describe("a long cache", () => {
  it.each([
    ["all heads full", undefined, 1200],
    [
      "some heads streaming",
      [
        [undefined, { sink: 2, recent: 5 }],
        [undefined, undefined],
        [{ sink: 2, recent: 5 }, undefined],
      ],
      1200,
    ],
    ["a capacity that is no step", undefined, LONG + TRIAL + 25],
  ])("gives the logits of the whole: %s", (_, windows, capacity) => {
    const total = LONG + TRIAL + 20;
    const tokens = randomTokens(1, total, 96, 11);
    const cache = new KvCache(model.config, { capacity, ...(windows ? { windows } : {}) });
    forward(model, { tokens: [tokens[0]!.slice(0, LONG - 10)], cache, logitsAt: "none" }).dispose();
    const captured: Tensor[] = [];
    // Across the position from which attention can be compiled, and beyond its trial.
    for (let t = LONG - 10; t < total; t++) {
      captured.push(forward(model, { tokens: [[tokens[0]![t]!]], cache, logitsAt: "last" }).logits!);
    }
    cache.dispose();
    const plain = new KvCache(model.config, { capacity, ...(windows ? { windows } : {}) });
    const whole = forward(
      model,
      { tokens, cache: plain, logitsAt: captured.map((_, i) => LONG - 10 + i) },
      { captured: false },
    );
    plain.dispose();
    expect(maxDifference(tf.concat(captured, 1), whole.logits!)).toBeLessThan(5e-4);
  });
});
