import { appendFile, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { headModelSchema } from "../../common/api/documents.ts";
import type { EvaluationSettings } from "../../common/api/evaluations.ts";
import { type EvaluatedCase, evaluatedCase, evaluationSettings } from "../../common/api/evaluations.ts";
import type { Data } from "../../common/api/fields.ts";
import { HeadscopeError } from "../../common/errors.ts";
import type { HeadModel } from "../../common/heads/model.ts";
import { readRegular } from "../../files.ts";
import { writeFileAtomic } from "../../paths.ts";

/** Name of the format of journals. */
export const JOURNAL_FORMAT = "headscope.policy-evaluation-journal/2";
/** Name of a journal in the folder of an evaluation. */
export const JOURNAL = "journal.jsonl";

const headSchema = z.object({
  format: z.literal(JOURNAL_FORMAT),
  model: headModelSchema,
  settings: evaluationSettings,
});

/** A case that was evaluated: by number the point and the task of the plan. */
const lineSchema = z.object({
  point: z.int().min(0),
  task: z.int().min(0),
  length: z.int(),
  case: evaluatedCase,
});
/** A line of a journal. */
export type JournalLine = Data<typeof lineSchema>;

/** Lines of cases that were evaluated, each written as soon as it is there; a stopped evaluation goes on behind them. */
export class Journal {
  readonly #path: string | undefined;
  readonly #done = new Map<string, EvaluatedCase>();

  private constructor(path: string | undefined, lines: readonly JournalLine[]) {
    this.#path = path;
    for (const line of lines) this.#done.set(keyOf(line), line.case);
  }

  /**
   * Opens the journal of a folder, or begins one.
   * @param folder undefined for one that is not written
   * @throws HeadscopeError (mismatch) for one of another model or other settings, with the first difference, (corrupt) for what is none
   */
  static async open(folder: string | undefined, model: HeadModel, settings: EvaluationSettings): Promise<Journal> {
    if (folder === undefined) return new Journal(undefined, []);
    const path = join(folder, JOURNAL);
    const text = await readRegular(path, { what: "journal" }).then(String, (error: unknown) => {
      if (error instanceof HeadscopeError && error.kind === "missing") return undefined;
      throw error;
    });
    const head = JSON.stringify({ format: JOURNAL_FORMAT, model, settings });
    if (text === undefined) {
      await makeFolder(folder);
      await writeFileAtomic(path, `${head}\n`);
      return new Journal(path, []);
    }
    const [first, ...lines] = text.split("\n");
    checkHead(path, first!, { model, settings });
    // A process that ended as it wrote has left a part of a line.
    const whole = lines.slice(0, -1);
    if (lines.at(-1) !== "") await writeFileAtomic(path, `${[first, ...whole].join("\n")}\n`);
    return new Journal(path, whole.map((line, i) => parsed(path, line, i + 2, lineSchema))); // biome-ignore format: one call
  }

  /** A case that was evaluated already. */
  find(place: Omit<JournalLine, "case">, number: number): EvaluatedCase | undefined {
    return this.#done.get(keyOf({ ...place, case: { number } }));
  }

  async add(line: JournalLine): Promise<void> {
    this.#done.set(keyOf(line), line.case);
    if (this.#path !== undefined) await appendFile(this.#path, `${JSON.stringify(line)}\n`);
  }
}

/** The model and the settings of a journal. @throws HeadscopeError (missing, input, corrupt) */
export async function readJournalHead(path: string): Promise<Omit<Data<typeof headSchema>, "format">> {
  const text = String(await readRegular(path, { what: "journal" }));
  const { model, settings } = parsed(path, text.slice(0, text.indexOf("\n")), 1, headSchema);
  return { model, settings };
}

function keyOf({
  point,
  task,
  length,
  case: { number },
}: Omit<JournalLine, "case"> & { case: { number: number } }): string {
  return [point, task, length, number].join(" ");
}

function parsed<S extends z.ZodType>(path: string, line: string, number: number, schema: S): z.output<S> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    value = undefined;
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw new HeadscopeError("corrupt", `line ${number} of ${path} is none of an evaluation's journal`, {
    remedy: "give another folder, or remove this one",
    subject: path,
  });
}

/** @throws HeadscopeError (mismatch) */
function checkHead(path: string, line: string, wanted: { model: HeadModel; settings: EvaluationSettings }): void {
  const refuse = (what: string, remedy = "give another folder, or the same settings") =>
    new HeadscopeError("mismatch", `${path} is of an evaluation ${what}`, { remedy, subject: path });
  const { format } = parsed(path, line, 1, z.object({ format: z.string() }));
  if (format !== JOURNAL_FORMAT && format.startsWith(JOURNAL_FORMAT.replace(/\d+$/, "")))
    throw refuse(
      `by another version of headscope (${format}), whose numbers are others`,
      "give another folder, or remove this one",
    );
  const { model, settings } = parsed(path, line, 1, headSchema);
  if (model.digest !== wanted.model.digest)
    throw refuse(`of ${model.ref}, with other weights than ${wanted.model.ref}`);
  for (const name of Object.keys(wanted.settings) as (keyof EvaluationSettings)[]) {
    const [before, now] = [settings[name], wanted.settings[name]].map((value) => JSON.stringify(value));
    if (before !== now) throw refuse(`with ${name} ${before}, not ${now}`);
  }
}

async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
  } catch (cause) {
    throw new HeadscopeError("input", `no results can be written to ${folder}: ${(cause as Error).message}`, {
      remedy: "give another folder",
      cause,
    });
  }
}
