import { mkdirSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, test } from "vitest";
import { updateVerdicts, verdictTable } from "../../../backend/cli/text/verdict-table.ts";
import type { Preset, Verdict } from "../../../backend/common/words.ts";
import { writeReport } from "../../../backend/reports/report.ts";
import { toSvg } from "../../../backend/reports/svg.ts";
import { placeReport, reportsFolder } from "../../../experiments/history.ts";
import { experimentParameters, experiments, type PresetReports, presetReports } from "../../../experiments/index.ts";
import { expectLine, ok, ROOT } from "../../helpers/cli.ts";
import { refused } from "../../helpers/errors.ts";
import { headscope } from "../../helpers/headscope.ts";

const NAME = "tart";
const experiment = experiments.get(NAME);
let data = "";
beforeAll(async () => {
  data = await mkdtemp(join(tmpdir(), "verdict-table-"));
  mkdirSync(reportsFolder(data));
});
afterAll(() => rm(data, { recursive: true }));

const FIGURE = {
  ...{ kind: "lines" as const, name: "errors", title: "Errors" },
  ...{ x: { title: "step" }, y: { title: "error" }, lines: [{ name: "a", x: [0, 1], y: [1, 0] }] },
};

/** Keeps a report. @param verdicts of the claims in order @returns its id */
async function keep(
  preset: Preset,
  verdicts: readonly Verdict[],
  changes: Record<string, unknown> = {},
  folder = data,
): Promise<string> {
  const { name, title, description, source, claims } = experiment;
  const placed = await placeReport(
    experiment,
    {
      experiment: { name, title, description, source },
      ...{ preset, parameters: experimentParameters(experiments, NAME, preset, changes), command: "", summary: "" },
      claims: verdicts.map((verdict, i) => ({ ...claims[i]!, measured: {}, verdict, why: "w" })),
      ...{ figures: [FIGURE], runs: [] },
    },
    folder,
  );
  await writeReport(placed.folder, placed.report);
  return placed.id;
}

const all = (verdict: Verdict) => experiment.claims.map(() => verdict);
const idOf = ({ reports }: PresetReports, preset: Preset) => reports[preset]?.id;

describe("the reports that verdicts are read from", () => {
  test("are the newest of each preset with nothing changed and the claims of today", async () => {
    expect(await presetReports(experiment, undefined, data)).toEqual({
      name: NAME,
      source: experiment.source,
      reports: { quick: null, full: null },
    });
    await keep("quick", all("not reproduced"));
    const newest = await keep("quick", all("reproduced"));
    await keep("quick", all("too few seeds to tell"), { seeds: [0] });
    await keep("quick", all("reproduced").slice(1)); // of a version with other claims
    const found = await presetReports(experiment, undefined, data);
    expect(found.reports).toMatchObject({ quick: { id: newest }, full: null });
    const full = await keep("full", all("reproduced"));
    expect(idOf(await presetReports(experiment, ["full"], data), "full")).toBe(full);
    expect(Object.keys((await presetReports(experiment, ["full"], data)).reports)).toEqual(["full"]);
  });
});

/** A row of an experiment with counts of verdicts by preset. */
function row(
  name: string,
  source: string,
  counts: Partial<Record<Preset, Record<string, number> | null>>,
): PresetReports {
  const kept = (verdicts: Record<string, number>) =>
    ({ ...{ id: "i", preset: "quick", changed: [], created: "c", summary: "s", claims: [] }, verdicts }) as const;
  return {
    ...{ name, source },
    reports: Object.fromEntries(Object.entries(counts).map(([p, verdicts]) => [p, verdicts && kept(verdicts)])),
  };
}

const MIXED = { reproduced: 4, "not reproduced": 1, "inconclusive at this scale": 2, "too few seeds to tell": 1 };

describe("a table of verdicts", () => {
  it("counts what was reproduced, not reproduced, and neither, in columns of one width", () => {
    const rows = [
      row("tart", "Zoé 2023 | x", { quick: MIXED, full: null }),
      row("a", "B", { quick: null, full: null }),
    ];
    expect(verdictTable(rows, ["quick", "full"])).toBe(
      [
        "| experiment                    | paper         | quick preset | full preset |",
        "| ----------------------------- | ------------- | ------------ | ----------- |",
        "| [`tart`](experiments/tart.md) | Zoé 2023 \\| x | 4 / 1 / 3    |             |",
        "| [`a`](experiments/a.md)       | B             |              |             |",
      ].join("\n"),
    );
    expect(verdictTable(rows, ["full"])).toContain("| paper         | full preset |");
  });
});

const BEFORE = `# Page

<!-- verdicts -->

| experiment | paper | quick preset | full preset |
| --- | --- | --- | --- |
| \`gone\` | Nobody | 9 / 9 / 9 |
| [\`tart\`](else.md) | Old | 1 / 1 / 1 | 2 / 2 / 2 |
| [\`promot\`](else.md) | By hand \\| kept | 3 / 3 / 3 | |

<!-- /verdicts -->

\`<!-- verdicts -->\` in a sentence is no marker.
`;

describe("a file's table of verdicts", () => {
  const none = { quick: null, full: null };
  const rows = [
    row("tart", "New", { quick: MIXED, full: null }),
    row("promot", "P", none),
    row("forgetting", "F", none),
  ];

  it("takes new counts, keeps what no report is kept of, and gets a row of what it did not have", () => {
    const after = updateVerdicts(BEFORE, rows, "page.md");
    const lines = after.split("\n").filter((line) => line.startsWith("|"));
    expect(lines.slice(2).map((line) => line.replace(/ +/g, " "))).toEqual([
      "| `gone` | Nobody | 9 / 9 / 9 | |",
      "| [`tart`](experiments/tart.md) | New | 4 / 1 / 3 | 2 / 2 / 2 |",
      "| [`promot`](else.md) | By hand \\| kept | 3 / 3 / 3 | |",
      "| [`forgetting`](experiments/forgetting.md) | F | | |",
    ]);
    expect(new Set(lines.map(({ length }) => length)).size).toBe(1);
    const [first, last] = ["# Page\n\n<!-- verdicts -->\n\n|", "|\n\n<!-- /verdicts -->\n\n`<!-- verdicts"];
    expect([after.startsWith(first), after.includes(last)]).toEqual([true, true]);
    expect(updateVerdicts(after, rows, "page.md")).toBe(after);
  });

  it("keeps the counts of a preset that was not asked for", () => {
    const after = updateVerdicts(BEFORE, [row("tart", "New", { full: MIXED })], "page.md");
    expect(after).toMatch(/tart.*\| 1 \/ 1 \/ 1 +\| 4 \/ 1 \/ 3 +\|/);
  });

  it("is written where nothing stands between the markers", () => {
    const after = updateVerdicts("<!-- verdicts -->\n<!-- /verdicts -->\n", rows, "page.md");
    expect(after).toBe(`<!-- verdicts -->\n\n${verdictTable(rows, ["quick", "full"])}\n\n<!-- /verdicts -->\n`);
  });

  it.each([
    ["no markers", "# Page\n"],
    ["no end", "<!-- verdicts -->\n"],
    ["an end before the beginning", "<!-- /verdicts -->\n<!-- verdicts -->\n"],
    ["two tables", "<!-- verdicts -->\n<!-- /verdicts -->\n<!-- verdicts -->\n<!-- /verdicts -->\n"],
    ["a text between them", "<!-- verdicts -->\nA sentence.\n<!-- /verdicts -->\n"],
    ["another table between them", "<!-- verdicts -->\n| a | b |\n| - | - |\n<!-- /verdicts -->\n"],
  ])("is refused with %s", (_, text) => {
    expect(() => updateVerdicts(text, rows, "page.md")).toThrow(
      refused("input", { subject: "page.md", message: "page.md", remedy: expect.stringMatching(/./) as never }),
    );
  });

  it("stands in docs/experiments.md with every experiment, as the command writes it", async () => {
    const page = await readFile(join(ROOT, "docs/experiments.md"), "utf8");
    const known = experiments.list().map(({ name, source }) => row(name, source, none));
    expect(updateVerdicts(page, known, "docs/experiments.md")).toBe(page);
  });
});

describe("headscope experiment verdicts", () => {
  let home = "";
  beforeAll(async () => {
    home = await mkdtemp(join(tmpdir(), "verdicts-home-"));
    mkdirSync(reportsFolder(home));
    await keep("quick", all("reproduced"), {}, home);
  });
  afterAll(() => rm(home, { recursive: true }));
  const verdicts = (...args: string[]) =>
    headscope(["experiment", "verdicts", ...args], { env: { HEADSCOPE_HOME: home } });

  it("prints a table of every experiment, and says of which no report is kept", async () => {
    const { stdout, stderr } = ok(await verdicts());
    const lines = stdout.trimEnd().split("\n");
    expect(lines).toHaveLength(2 + experiments.list().length);
    expect(lines.filter((line) => / \d+ \/ \d+ \/ \d+ /.test(line))).toEqual([
      expect.stringMatching(/^\| \[`tart`\].* \| 6 \/ 0 \/ 0 +\| +\|$/),
    ]);
    const [quick, full] = stderr.split("\n");
    expect(quick).toMatch(/no report of the quick preset is kept of induction-emergence, abrupt-learning, /);
    expect(quick).not.toContain("tart");
    expect(full).toMatch(/no report of the full preset is kept of any experiment$/);
  });

  it("gives every claim's verdict with --json, of the preset that is asked for", async () => {
    const rows = ok(await verdicts("--preset", "quick", "--json")).json<PresetReports[]>();
    const { reports } = rows.find(({ name }) => name === NAME)!;
    expect(reports.quick!.claims.map(({ id, verdict }) => [id, verdict])).toEqual(
      experiment.claims.map(({ id }) => [id, "reproduced"]),
    );
    expect(rows.find(({ name }) => name === "promot")!.reports).toEqual({ quick: null });
  });

  it("brings a file up to date, and leaves one without markers as it is", async () => {
    const path = join(home, "page.md");
    await writeFile(path, BEFORE);
    expect(ok(await verdicts("--update", path)).stdout).toBe(`${path} is up to date\n`);
    expect(await readFile(path, "utf8")).toMatch(/`tart`.*\| 6 \/ 0 \/ 0 +\| 2 \/ 2 \/ 2 +\|/);
    await writeFile(path, "# Page\n");
    expectLine(await verdicts("--update", path), 1, /page\.md does not have the lines <!-- verdicts -->/);
    expect(await readFile(path, "utf8")).toBe("# Page\n");
    expect((await readdir(home)).filter((name) => name.startsWith("page"))).toEqual(["page.md"]);
    expectLine(await verdicts("--update", join(home, "none.md")), 1, /there is no Markdown file .*none\.md/);
  });

  it("draws the figures of the reports into a folder, a file each", async () => {
    const folder = join(home, "drawn", "figures");
    expect(ok(await verdicts("--figures", folder)).stderr).toContain(`1 figure in ${folder}\n`);
    expect(await readdir(folder)).toEqual([`${NAME}-quick-errors.svg`]);
    expect(await readFile(join(folder, `${NAME}-quick-errors.svg`), "utf8")).toBe(`${toSvg(FIGURE)}\n`);
    expectLine(await verdicts("--figures", join(home, "page.md")), 1, /page\.md/);
  });
});
