import { describe, expect, it } from "vitest";
import { interventionSchema } from "../../../backend/hooks/intervention-schema.ts";
import { continuationCommand, lossCommand } from "../../../frontend/src/ablation/commands.ts";
import {
  activeInterventions,
  asInterventions,
  type HeadAblation,
  interventionWords,
  readInterventions,
  templates,
} from "../../../frontend/src/ablation/interventions/interventions.ts";
import { removeHead, setExtra, setLeftIn } from "../../../frontend/src/ablation/interventions/list.ts";
import { meanWithin, secondCopy } from "../../../frontend/src/ablation/rows.ts";
import { band, changes, controlLosses, shade, verdictOf } from "../../../frontend/src/components/head-card/verdict.ts";
import { signedNats } from "../../../frontend/src/format.ts";

const zero: HeadAblation = {
  heads: ["18.6", "3.1", "18.2"],
  method: "zero",
  byPosition: false,
  seed: 0,
  reference: [],
};

describe("interventions as data", () => {
  it("are one entry a layer, in the order of the layers", () => {
    expect(asInterventions(zero)).toEqual([
      { at: "blocks.3.attn.hook_z", heads: [1], do: "zero" },
      { at: "blocks.18.attn.hook_z", heads: [2, 6], do: "zero" },
    ]);
  });

  it("are what the server's schema takes, for every method and every beginning of the editor", () => {
    const reference = [[0, 5, 7]];
    const made = [
      ...asInterventions(zero),
      ...asInterventions({ ...zero, method: "mean", byPosition: true, reference }),
      ...asInterventions({ ...zero, method: "resample", seed: 3, reference }),
      ...Object.values(templates(30, 12)).flat(),
    ];
    for (const one of made) expect(interventionSchema.safeParse(one).error).toBeUndefined();
  });

  it("come back as the same heads, method and others", () => {
    const reference = [[0, 5, 7], [0, 2, 9]]; // biome-ignore format: rows
    const extra = { intervention: { at: "blocks.0.hook_mlp_out", do: "scale", with: 0.5 } } as const;
    for (const ablation of [
      zero,
      { ...zero, method: "mean", byPosition: true, reference },
      { ...zero, method: "resample", seed: 4, reference },
    ] as const) {
      const text = JSON.stringify(activeInterventions(ablation, [extra]));
      expect(readInterventions(text, reference)).toEqual({
        heads: ["3.1", "18.2", "18.6"],
        method: ablation.method,
        byPosition: ablation.byPosition,
        seed: ablation.seed,
        extras: [extra],
      });
    }
  });

  it("keep as they are what a set of heads cannot say: positions, another reference, a second method", () => {
    const odd = [
      { at: "blocks.2.attn.hook_z", heads: [0], do: "zero" },
      { at: "blocks.2.attn.hook_z", heads: [1], positions: [4], do: "zero" },
      { at: "blocks.2.attn.hook_z", heads: [2], do: "mean", with: { tokens: [[1, 2]] } },
      { at: "attn.hook_z", layer: 5, heads: [3], do: "zero" },
      { at: "blocks.2.attn.hook_z", do: "zero" },
    ];
    const read = readInterventions(JSON.stringify(odd), [[9, 9]]);
    expect(read.heads).toEqual(["2.0", "5.3"]);
    expect(read.extras.map(({ intervention }) => intervention)).toEqual([odd[1], odd[2], odd[4]]);
  });

  it("that are off stay in the list and out of the run", () => {
    const extra = { intervention: { at: "blocks.0.hook_mlp_out", do: "zero" } } as const;
    const off = setExtra(extra, false);
    expect(activeInterventions({ ...zero, heads: [] }, [off])).toEqual([]);
    expect(setExtra(off, true)).toEqual(extra);
    expect(setLeftIn(["3.1"], "2.10", true)).toEqual(["2.10", "3.1"]);
    expect(removeHead(["3.1", "2.0"], "3.1")).toEqual(["2.0"]);
  });

  it("refuse what is no intervention, naming the entry", () => {
    expect(() => readInterventions("{", [])).toThrow("not JSON");
    expect(() => readInterventions('[{"at": "hook_embed", "do": "zero"}, 3]', [])).toThrow("Entry 1");
    expect(() => readInterventions('{"at": "hook_embed"}', [])).toThrow('no "do"');
  });

  it("read as a line", () => {
    expect(interventionWords({ at: "blocks.1.attn.hook_z", heads: [0, 2], positions: [5], do: "scale", with: 2 })).toBe(
      "scale by 2 at blocks.1.attn.hook_z, heads 0 2, positions 5",
    );
    expect(
      interventionWords({ at: "blocks.1.attn.hook_attn_scores", positions: [1, 2], keys: [0], do: "patch", with: -9 }),
    ).toBe("patch -9 at blocks.1.attn.hook_attn_scores, positions 1 2, keys 0");
  });
});

describe("the verdict against the control", () => {
  const control = controlLosses([2.0, 2.1, 2.3, 2.2, 2.1], 3, 3);
  const kind = (changed: number) => verdictOf({ clean: 2.1, changed, control }).kind;

  it("is an effect only outside the range of the draws", () => {
    expect([kind(2.31), kind(2.3), kind(2.0), kind(1.99)]).toEqual(["worse", "within", "within", "milder"]);
    expect(verdictOf({ clean: 2.1, changed: 3 }).kind).toBe("alone");
  });

  it("says the changes with their signs", () => {
    const { words } = verdictOf({ clean: 2.1, changed: 2.6, control });
    expect(words).toContain("raises the loss by 0.500");
    expect(words).toContain("−0.100 to +0.200 (5 draws)");
    expect(verdictOf({ clean: 2.1, changed: 2.0 }).words).toContain("lowers the loss by 0.100");
    const same = verdictOf({ clean: 2.1, changed: 2.6, control: controlLosses([2.2, 2.2], 3, 3) });
    expect(same.words).toContain("by +0.100 (2 draws)");
  });

  it("says where the layers had fewer heads to draw than were taken out", () => {
    expect(control.mean).toBeCloseTo(2.14, 10);
    expect(control.range).toEqual([2, 2.3]);
    expect(verdictOf({ clean: 2.1, changed: 2.6, control }).words).toContain("as many other heads");
    const one = verdictOf({ clean: 2.1, changed: 2.6, control: controlLosses([2.2], 1, 3) });
    expect(one.words).toContain("the one other head");
  });

  it("gives no sign to a change that rounds to nothing", () => {
    expect([signedNats(0.0001), signedNats(-0.0001), signedNats(0.0006), signedNats(-2)]).toEqual([
      "0.000",
      "0.000",
      "+0.001",
      "−2.000",
    ]);
  });
});

describe("changes of the loss", () => {
  it("belong to the tokens from the second on", () => {
    expect(changes([1, 2], [1.5, 1])).toEqual([undefined, 0.5, -1]);
  });

  it("are shaded by the largest, with small ones left pale", () => {
    expect([shade(3, 3), shade(-3, 3), shade(0.05, 0.05), shade(0, 2)]).toEqual([1, -1, 0.1, 0]);
  });

  it("of the draws span a band at each place", () => {
    expect(band([[1, 5], [3, 2], [2, 4]])).toEqual({ low: [1, 2], high: [3, 5] }); // biome-ignore format: rows
    expect(band([])).toEqual({ low: [], high: [] });
  });
});

it("the losses of repeated rows are cut to what of the second copy can be foretold", () => {
  // Losses of tokens 1 to 6 of BOS a b c a b c; the second copy is tokens 4, 5, 6, and its first can't be foretold.
  expect(meanWithin([[1, 2, 3, 4, 5, 6]], secondCopy(3))).toBe(5.5);
});

describe("the command behind an ablation", () => {
  const setting = { model: "smollm2-135m", input: { text: "It's here", bos: "off" }, heads: ["1.2", "3.4"] } as const;
  const way = { method: "zero", byPosition: false, controls: 5, seed: 0, reference: [] };

  it("leaves defaults out and quotes the text", () => {
    expect(lossCommand(setting, way)).toBe(
      "npx headscope ablate --model smollm2-135m --heads 1.2,3.4 --text 'It'\\''s here' --no-prepend-bos --method zero",
    );
  });

  it("names what differs from the defaults", () => {
    expect(
      lossCommand(
        { ...setting, input: { tokens: [[1, 2]] } },
        { method: "mean", byPosition: true, controls: 0, seed: 2, reference: [[3, 4]] },
      ),
    ).toBe(
      "printf '%s' '[[1,2]]' > tokens.json && printf '%s' '[[3,4]]' > reference.json && npx headscope ablate --model smollm2-135m --heads 1.2,3.4 --tokens-file tokens.json --method mean --by-position --reference-file reference.json --controls 0 --seed 2",
    );
    expect(lossCommand(setting, way, { over: "answer", position: 4, wrong: 7, metric: "kl" })).toMatch(
      / --over answer --position 4 --wrong 7 --metric kl$/,
    );
    expect(lossCommand(setting, way, { over: "repeated" })).toMatch(/ --over repeated$/);
    expect(continuationCommand({ ...setting, heads: [] }, 24)).toBe(
      "npx headscope generate --model smollm2-135m --text 'It'\\''s here' --no-prepend-bos --max-tokens 24",
    );
  });
});
