import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { headRoles } from "../../backend/circuits/roles/roles.ts";
import type { HeadRolesResult } from "../../backend/common/api/roles.ts";
import type { HeadRole, RoleMeasure } from "../../backend/common/heads/roles.ts";
import type { Model } from "../../backend/models/model.ts";
import { probe } from "../../probes/index.ts";
import { pairTasks, samplePairs } from "../../synthetic-tasks/pairs/index.ts";
import { havePulled, loadSmollm2, onSmolLm2 } from "../helpers/smollm2.ts";

describe.skipIf(!havePulled)(onSmolLm2("roles in SmolLM2 on indirect objects"), () => {
  let model: Model;
  let result: HeadRolesResult;
  beforeAll(async () => {
    model = await loadSmollm2();
    const params = pairTasks.parse("ioi", { template: 0 });
    const { tokens } = samplePairs(model, pairTasks.get("ioi"), params, { count: 4, seed: 0 });
    result = await headRoles(model, { pairs: tokens });
  });
  afterAll(() => model?.dispose());

  const having = (role: HeadRole): string[] =>
    result.heads.filter(({ roles }) => roles.some((each) => each.role === role)).map(({ head }) => head);
  const value = (head: string, role: HeadRole, measure: RoleMeasure): number =>
    result.heads
      .find((each) => each.head === head)!
      .roles.find((each) => each.role === role)!
      .evidence.find((each) => each.measure === measure)!.value;
  const layers = (heads: readonly string[]): number[] => heads.map((head) => Number(head.split(".")[0]));

  it("the story of Wang et al. is found: names are moved after they were inhibited, and those after the duplicate was seen", () => {
    const movers = layers([...having("name mover"), ...having("negative name mover")]);
    const [inhibition, duplicate] = [layers(having("S-inhibition")), layers(having("duplicate token"))];
    for (const each of [movers, inhibition, duplicate]) expect(each.length).toBeGreaterThan(0);
    expect(Math.max(...inhibition)).toBeLessThan(Math.max(...movers));
    expect(Math.min(...duplicate)).toBeLessThan(Math.min(...inhibition));
    expect(Math.max(...duplicate)).toBeLessThan(Math.min(...movers));
  });

  it("a head moves the name up or down, not both", () => {
    const up = having("name mover");
    expect(having("negative name mover").filter((head) => up.includes(head))).toEqual([]);
    expect(having("negative name mover")).toContain("24.4"); // looks at the answer by 0.8 and lowers it
    expect(value("24.4", "negative name mover", "direct")).toBeLessThan(0);
    expect(value("24.4", "negative name mover", "copying")).toBeLessThan(0);
  });

  it.each(["duplicate-token", "induction", "previous-token"] as const)(
    "heads that look like it by half their attention stand in the first tenth of the probe %s",
    async (name) => {
      const { metrics } = await probe(model, name, { length: 24 });
      const scores = Object.values(metrics)[0]!.values.flatMap((row, layer) =>
        row.map((score, head) => ({ head: `${layer}.${head}`, score })),
      );
      const ranking = scores.toSorted((a, b) => b.score - a.score).map(({ head }) => head);
      const role = name.replace("-", " ") as HeadRole;
      const sure = having(role).filter((head) => value(head, role, "attention") >= 0.5);
      expect(sure.length).toBeGreaterThan(0);
      for (const head of sure) expect(ranking.indexOf(head), head).toBeLessThan(27);
    },
  );
});
