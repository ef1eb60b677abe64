import { describe, expect, it } from "vitest";
import { jsonSchema } from "../../../../backend/common/definitions/parameters.ts";
import type { HeadscopeError } from "../../../../backend/common/errors.ts";
import { choosePolicies } from "../../../../backend/inference/policies/choice.ts";
import { policies } from "../../../../backend/inference/policies/index.ts";
import { UNITS, type UnitName } from "../../../../backend/inference/policies/kinds/units.ts";
import { checkSuits, checkUnits } from "../../../../backend/inference/policies/suits.ts";
import { smallConfig } from "../../../helpers/models.ts";

const config = smallConfig({ n_layers: 7, n_ctx: 300 });
const model = { ref: "small", family: "llama", digest: "", config } as Parameters<typeof checkSuits>[0];
/** Whole numbers that count nothing of a model. */
const UNITLESS = ["seed", "bits", "iterations", "group", "levels"];

const whole = policies.list().flatMap((policy) =>
  Object.entries(jsonSchema(policy.parameters).properties ?? {}).flatMap(([name, field]) => {
    const numbers = field.type === "integer" || field.items?.type === "integer";
    return numbers && !UNITLESS.includes(name) ? [{ policy, name, field, title: `${policy.name}: ${name}` }] : [];
  }),
);

function refusal(call: () => unknown): HeadscopeError | undefined {
  try {
    call();
    return undefined;
  } catch (error) {
    return error as HeadscopeError;
  }
}

describe("parameters that count what a model has", () => {
  it.each(whole)(
    "$title: as many are let through, one more is refused with both numbers",
    ({ policy, name, field }) => {
      expect(Object.keys(UNITS)).toContain(field.unit);
      const { most } = UNITS[field.unit as UnitName];
      const others = { layers: 2, chunk: 8 };
      const own = Object.fromEntries(Object.entries(others).filter(([key]) => key in policy.parameters.shape));
      const bound = most(config, field.unit === "layers" ? {} : own);
      const given = (value: number) => ({ ...own, [name]: field.type === "array" ? [1, value] : value });
      expect(refusal(() => checkUnits(model, { policy, params: given(bound) }))).toBeUndefined();
      const error = refusal(() => checkUnits(model, { policy, params: given(bound + 1) }));
      expect(error).toMatchObject({ kind: "usage", field: name });
      expect(error?.message).toContain(String(bound + 1));
      expect(error?.remedy).toContain(String(bound));
    },
  );

  it("may be larger where that is the default: a paper's scale covers a small model whole", () => {
    const policy = policies.get("a-shape");
    const local = jsonSchema(policy.parameters).properties?.["local"]?.default;
    expect(local).toBeGreaterThan(config.n_ctx);
    expect(refusal(() => checkUnits(model, { policy, params: policies.parse("a-shape") }))).toBeUndefined();
  });

  it.each([
    ["xkv", { layers: 99 }, "layers"],
    ["xkv", { rank: 100_000 }, "rank"],
    ["quest", { dense: 99 }, "dense"],
    ["gemfilter", { layer: 99 }, "layer"],
    ["lazyllm", { layers: "1,99" }, "layers"],
    ["adakv", { future: 100_000, base: "expected-attention" }, "future"],
  ])("%s with %j is refused by the model's config, before it is loaded", async (name, params, field) => {
    const choice = await choosePolicies([{ name, params }]);
    expect(refusal(() => checkSuits(model, choice))).toMatchObject({ kind: "usage", field });
  });

  it("of adakv are its base's, whose defaults may be larger", async () => {
    const choice = await choosePolicies([{ name: "adakv", params: { base: "expected-attention" } }]);
    expect(choice.tokens?.params["future"]).toBeGreaterThan(config.n_ctx);
    expect(refusal(() => checkSuits(model, choice))).toBeUndefined();
  });
});
