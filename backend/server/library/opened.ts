import { join } from "node:path";
import { z } from "zod";
import { readJson } from "../../json.ts";
import { writeFileAtomic } from "../../paths.ts";

const MOST = 50;
const schema = z.array(z.string().min(1).max(4_096)).max(MOST);

/** Paths of models that were opened here, kept in the data folder; the latest is last. */
export class Opened {
  readonly #file: string;
  #paths: Promise<readonly string[]> | undefined;

  /** @param folder the data folder */
  constructor(folder: string) {
    this.#file = join(folder, "opened.json");
  }

  /** Absolute. What the file says is not trusted: whoever reads one of them asks first whether it may. */
  list(): Promise<readonly string[]> {
    // A list that is missing or damaged is no reason to refuse what else there is.
    this.#paths ??= readJson(this.#file, "list of opened models").then(
      (value) => schema.safeParse(value).data ?? [],
      () => [],
    );
    return this.#paths;
  }

  /** Remembers one; nothing is written for one that is remembered already. */
  async add(path: string): Promise<void> {
    const paths = await this.list();
    if (!paths.includes(path)) await this.#keep([...paths, path].slice(-MOST));
  }

  /** Forgets some, such as those that are gone. */
  async remove(gone: readonly string[]): Promise<void> {
    if (gone.length > 0) await this.#keep((await this.list()).filter((path) => !gone.includes(path)));
  }

  async #keep(paths: readonly string[]): Promise<void> {
    this.#paths = Promise.resolve(paths);
    await writeFileAtomic(this.#file, `${JSON.stringify(paths, null, 2)}\n`);
  }
}
