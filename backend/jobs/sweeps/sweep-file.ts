import { parseDocument } from "yaml";
import { z } from "zod";
import { fieldPath, HeadscopeError, nearestNames } from "../../common/errors.ts";
import { Random } from "../../common/random.ts";
import { parseJson, readText } from "../../json.ts";

/** A parameter's distribution: one of some values, evenly or log-evenly between two limits, or a whole number of a range. */
const drawn = z.union(
  [
    z.strictObject({ choices: z.array(z.unknown()).min(1) }),
    z.strictObject({ uniform: z.tuple([z.number(), z.number()]) }),
    z.strictObject({ logUniform: z.tuple([z.number().positive(), z.number().positive()]) }),
    z.strictObject({ integers: z.tuple([z.int(), z.int()]) }),
  ],
  "must be one of {choices: [...]}, {uniform: [low, high]}, {logUniform: [low, high], above 0} and {integers: [low, high]}",
);
type Drawn = z.output<typeof drawn>;

const values = z.record(z.string(), z.unknown());

/** A sweep file: parameters of `headscope train` that are fixed, and those that are tried in a grid or at random. */
const sweepSchema = z.strictObject({
  task: z.string().min(1),
  /** The same at every point. */
  params: values.default({}),
  /** Values to try by parameter; every combination is a point. */
  grid: z.record(z.string(), z.array(z.unknown(), "must be a list of values").min(1, "must hold a value")).optional(),
  /** `count` points; beside it and `seed`, how each parameter is drawn. Point i stays the same when `count` grows. */
  random: z
    .object({ count: z.int().min(1), seed: z.int().min(0).default(0) })
    .catchall(drawn)
    .optional(),
  /** Each point is trained with each of them, together. */
  seeds: z
    .array(z.int().min(0), "must be a list of seeds")
    .min(1, "must hold a seed")
    .refine((seeds) => new Set(seeds).size === seeds.length, "must hold each seed once")
    .default([0]),
  /** Probes that are measured along with the evaluations; default those of the task. */
  probes: z.array(z.string(), "must be a list of probes' names").optional(),
});
export type Sweep = z.output<typeof sweepSchema>;

/** Runs of a sweep at most; more are taken for a mistake. */
const MOST_RUNS = 10_000;
const REMEDY = "a sweep file has task, params, grid or random, seeds and probes (headscope sweep --help shows one)";

/**
 * Reads a sweep file, YAML or (where its name ends in .json) JSON.
 * @throws HeadscopeError `missing` or `input`, naming the file and the line or field
 */
export async function readSweep(path: string): Promise<Sweep> {
  const text = await readText(path, "sweep file");
  return parseSweep(path.toLowerCase().endsWith(".json") ? parseJson(text, path) : parseYaml(text, path), path);
}

function parseYaml(text: string, path: string): unknown {
  const document = parseDocument(text, { prettyErrors: true });
  const [error] = document.errors;
  if (error === undefined) return document.toJS();
  throw new HeadscopeError("input", `${path} is not YAML: ${error.message.split("\n", 1)[0]!.replace(/:$/, "")}`, {
    remedy: "mend the file there",
    cause: error,
  });
}

/**
 * Checks a sweep.
 * @param label the file; errors start with it
 * @throws HeadscopeError `input` naming the field
 */
export function parseSweep(value: unknown, label: string): Sweep {
  const result = sweepSchema.safeParse(value ?? {});
  if (!result.success) throw badField(result.error.issues[0]!, label);
  const sweep = result.data;
  if (sweep.grid !== undefined && sweep.random !== undefined)
    throw new HeadscopeError("input", `${label}: grid and random cannot go together`, { remedy: "give one of them" });
  for (const [name, how] of Object.entries(drawnOf(sweep))) {
    const limits = Object.values(how)[0] as number[];
    if (!("choices" in how) && limits[0]! > limits[1]!)
      throw new HeadscopeError("input", `${label}: random.${name}: ${limits[0]} is above ${limits[1]}`, {
        remedy: "give the lower limit first",
      });
  }
  const fixed = new Set(Object.keys(sweep.params));
  const twice = varied(sweep).find((name) => fixed.has(name));
  if (twice !== undefined)
    throw new HeadscopeError("input", `${label}: ${twice} is in params and in ${sweep.grid ? "grid" : "random"}`, {
      remedy: "leave it in one of them",
    });
  return sweep;
}

function badField(issue: z.core.$ZodIssue, label: string): HeadscopeError {
  const path = fieldPath(issue.path);
  const place = path === "" ? label : `${label}: ${path}`;
  if (issue.code !== "unrecognized_keys")
    return new HeadscopeError("input", `${place}: ${issue.message}`, { remedy: REMEDY });
  const near = nearestNames(issue.keys[0]!, Object.keys(sweepSchema.shape), 1);
  return new HeadscopeError("input", `${place}: there is no field "${issue.keys[0]}" in a sweep`, {
    remedy: path === "" ? `did you mean ${near[0]}? Parameters stand under params, grid or random` : REMEDY,
  });
}

/** The drawn parameters by name. */
function drawnOf({ random }: Sweep): Record<string, Drawn> {
  const { count: _, seed: __, ...rest } = random ?? { count: 0, seed: 0 };
  return rest as Record<string, Drawn>;
}

/** Names of the parameters that differ between points, in the order of the file. */
export function varied(sweep: Sweep): string[] {
  return Object.keys(sweep.grid ?? drawnOf(sweep));
}

/** The place of a parameter in the file: "params.steps", "grid.n_heads". */
export function fieldOf({ params, grid, random }: Sweep, name: string): string | undefined {
  const section = Object.entries({ params, grid, random }).find(
    ([, fields]) => fields && Object.hasOwn(fields, name),
  )?.[0];
  return section && `${section}.${name}`;
}

/**
 * The points of a sweep: what is fixed, and a value of each varied parameter. Equal points count once.
 * @throws HeadscopeError `input` for more than 10,000 runs
 */
export function sweepPoints(sweep: Sweep, label: string): Record<string, unknown>[] {
  const { params, grid, random, seeds } = sweep;
  const amount = random?.count ?? Object.values(grid ?? {}).reduce((product, list) => product * list.length, 1);
  if (amount * seeds.length > MOST_RUNS)
    throw new HeadscopeError("input", `${label}: ${amount * seeds.length} runs are more than ${MOST_RUNS}`, {
      remedy: "try fewer values, points or seeds",
    });
  const points = random === undefined ? combinations(Object.entries(grid ?? {})) : drawPoints(sweep, random);
  const unique = new Map(points.map((point) => [JSON.stringify(point), { ...params, ...point }]));
  return [...unique.values()];
}

function combinations(lists: readonly (readonly [string, readonly unknown[]])[]): Record<string, unknown>[] {
  return lists.reduce<Record<string, unknown>[]>(
    (points, [name, list]) => points.flatMap((point) => list.map((value) => ({ ...point, [name]: value }))),
    [{}],
  );
}

function drawPoints(sweep: Sweep, { count, seed }: { count: number; seed: number }): Record<string, unknown>[] {
  const fields = Object.entries(drawnOf(sweep));
  return Array.from({ length: count }, (_, i) => {
    const random = new Random(seed, i);
    return Object.fromEntries(fields.map(([name, how]) => [name, draw(how, random)]));
  });
}

function draw(how: Drawn, random: Random): unknown {
  if ("choices" in how) return how.choices[random.integer(0, how.choices.length)];
  if ("integers" in how) return random.integer(how.integers[0], how.integers[1] + 1);
  const between = (low: number, high: number): number => low + (high - low) * random.uniform();
  if ("uniform" in how) return short(between(...how.uniform));
  const [low, high] = how.logUniform;
  return short(Math.exp(between(Math.log(low), Math.log(high))));
}

/** Four digits: enough to tell points apart, and to type one of them. */
function short(value: number): number {
  return Number(value.toPrecision(4));
}
