import { beforeAll, expect, it } from "vitest";
import type { TokenPair } from "../../../../backend/circuits/pairs.ts";
import { roleLooks } from "../../../../backend/circuits/roles/places.ts";
import { headRoles } from "../../../../backend/circuits/roles/roles.ts";
import type { HeadRolesResult } from "../../../../backend/common/api/roles.ts";
import { HEAD_ROLES, LOOKS } from "../../../../backend/common/heads/roles.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { INDUCTION, SKIP } from "../../../helpers/known-circuits/circuits.ts";
import { handWritten } from "../../../helpers/known-circuits/hand-written.ts";

beforeAll(async () => {
  await initBackend();
  names = tellsNames();
});

const rolesOf = ({ heads }: HeadRolesResult): Record<string, readonly string[]> =>
  Object.fromEntries(heads.map(({ head, roles }) => [head, roles.map(({ role }) => role)]));

const SHARP = 8;

/**
 * Two names, of which the second comes again: the head 0.0 tells the last token which it was. In layer 1 two heads look away from it, of
 * which one copies what it sees and one lowers it; one looks at it and lowers it.
 */
const tellsNames = (): Model =>
  handWritten("names", [
    {
      heads: [
        {
          query: { from: "position", route: (p) => (p === 4 ? 3 : undefined), gain: SHARP },
          key: { from: "position" },
          value: { from: "token" },
          into: "middle",
        },
        { value: { from: "token" }, into: "unread" },
        { value: { from: "token" }, into: "unread" },
      ],
    },
    {
      heads: [
        { query: { from: "middle", gain: -SHARP }, key: { from: "token" }, value: { from: "token" }, into: "output" },
        {
          query: { from: "middle", gain: -SHARP },
          key: { from: "token" },
          value: { from: "token", gain: -0.3 },
          into: "output",
        },
        {
          query: { from: "middle", gain: SHARP },
          key: { from: "token" },
          value: { from: "token", gain: -1 },
          into: "output",
        },
      ],
    },
  ]);
let names: Model;
const NAMES: TokenPair = { clean: [5, 1, 2, 2, 9], corrupt: [5, 1, 2, 1, 9], answer: 1, wrong: 2 };

it("of a transformer written to find the other name, every head has the role that it was written for", async () => {
  const result = await headRoles(names, { pairs: [NAMES] });
  const first = Object.entries(rolesOf(result)).map(([head, roles]) => [head, roles[0]]);
  expect(Object.fromEntries(first)).toEqual({
    "0.0": "S-inhibition",
    "1.0": "name mover",
    "1.1": "negative name mover",
    "1.2": "copy suppression",
  });
  for (const { roles } of result.heads)
    for (const { evidence } of roles)
      for (const { value, threshold } of evidence)
        expect(threshold < 0 ? value <= threshold : value >= threshold).toBe(true);
});

it("the effects of roles are the metric that is lost: the direct ones of a model of one mover are all of it", async () => {
  const { heads, clean, corrupt } = await headRoles(names, { pairs: [NAMES] });
  const value = (head: string, measure: string): number =>
    heads
      .find((each) => each.head === head)!
      .roles.flatMap(({ evidence }) => evidence)
      .find((each) => each.measure === measure)!.value;
  const direct = ["1.0", "1.1", "1.2"].reduce((sum, head) => sum + value(head, "direct"), 0);
  expect(direct).toBeCloseTo(clean - corrupt, 4);
  // With the first name in its query a mover looks at four tokens, two of them the wrong name, instead of at three, one of them the
  // answer; the unembedding counts five, and what the negative mover gains is added.
  expect(value("0.0", "queries")).toBeCloseTo(1.3 * (5 / 3 + 5 / 2), 1);
});

it("the loss, which falls where the answer is likelier, gives the same roles", async () => {
  const [first, second] = await Promise.all(
    (["logit-diff", "loss"] as const).map((metric) => headRoles(names, { pairs: [NAMES], metric })),
  );
  expect(rolesOf(second!)).toEqual(rolesOf(first!));
});

it("in the induction circuit the heads are named by what they do, and those that attend evenly by nothing", async () => {
  const roles = rolesOf(await headRoles(INDUCTION.model(), { pairs: INDUCTION.pairs }));
  expect(roles["0.1"]).toEqual(["previous token"]);
  expect(roles["1.0"]).toEqual(["induction"]);
  expect(roles["0.2"]).toEqual(["duplicate token"]);
  expect(roles["1.1"]).toEqual(["duplicate token"]);
  expect(Object.keys(roles).sort()).toEqual(["0.1", "0.2", "1.0", "1.1"]);
});

it("a pair without a repeated token gets the roles that need none", async () => {
  const pairs = SKIP.pairs.filter(({ clean, answer }) => clean.at(-1) === answer);
  expect(pairs.length).toBeGreaterThan(0);
  const result = await headRoles(SKIP.model(), { pairs });
  expect(rolesOf(result)).toEqual({ "0.2": ["previous token"] });
  const applying = HEAD_ROLES.filter((role) => result.applies[role] > 0);
  expect(applying).toEqual(["previous token"]);
});

it("only the heads that are asked for are told of, with the roles that they have among all", async () => {
  const result = await headRoles(names, { pairs: [NAMES], heads: [{ layer: 0, head: 0 }] });
  expect(rolesOf(result)).toEqual({ "0.0": ["S-inhibition", "previous token"] });
});

it("attention is the mean over the pairs that have the place", async () => {
  const other: TokenPair = { clean: [5, 3, 2, 7, 9], corrupt: [5, 3, 4, 7, 9], answer: 6, wrong: 8 };
  const alone = await headRoles(names, { pairs: [NAMES] });
  const both = await headRoles(names, { pairs: [NAMES, other] });
  expect(both.applies).toMatchObject({ "name mover": 1, "S-inhibition": 1, "previous token": 2 });
  const share = ({ heads }: HeadRolesResult) => heads.find(({ head }) => head === "1.0")!.roles[0]!.evidence[0]!.value;
  expect(share(both)).toBeCloseTo(share(alone), 6);
  expect(share(alone)).toBeGreaterThan(LOOKS);
});

it("the first token, where heads look that look nowhere, is no place of a role", () => {
  const looks = roleLooks({ clean: [1, 2, 3, 2, 9], answer: 1, wrong: 2 });
  expect(Object.keys(looks)).not.toContain("name mover");
  const first = roleLooks({ clean: [2, 1, 3, 2, 9], answer: 1, wrong: 2 });
  expect(Object.keys(first)).not.toContain("duplicate token");
  expect(first.induction).toEqual([{ query: 3, keys: [1] }]);
});

it("where the last token is the second S, looking at what followed the first is induction and no moving", () => {
  const looks = roleLooks({ clean: [5, 1, 2, 7, 1], answer: 2, wrong: 8 });
  expect(looks.induction).toEqual([{ query: 4, keys: [2] }]);
  expect(looks["name mover"]).toBeUndefined();
});

it.each([
  { name: "a head that the model lacks", options: { pairs: [NAMES], heads: [{ layer: 2, head: 0 }] }, kind: "usage" },
  { name: "no pair", options: { pairs: [] }, kind: "input" },
  { name: "an option that there is not", options: { pairs: [NAMES], head: [] }, kind: "usage" },
  { name: "a metric that there is not", options: { pairs: [NAMES], metric: "accuracy" }, kind: "usage" },
])("$name is refused", async ({ options, kind }) => {
  await expect(headRoles(names, options as never)).rejects.toMatchObject({ kind });
});
