import { realpath, stat } from "node:fs/promises";
import { dirname, isAbsolute } from "node:path";
import { notFound, Refusal } from "../http/problems.ts";

/** The folders that requests may name: the data folder, those that the server was given, and those that were added since. */
export class Roots {
  readonly #folders: string[];
  readonly #open: boolean;

  /** @param folders absolute, the data folder first @param open whether others may be added: only this machine reaches the server */
  constructor(folders: readonly string[], open: boolean) {
    this.#folders = [...folders];
    this.#open = open;
  }

  /** Absolute, the data folder first. */
  get folders(): readonly string[] {
    return this.#folders;
  }

  /** True where `add` takes any. */
  get open(): boolean {
    return this.#open;
  }

  /**
   * Lets requests name what lies in a folder, for this server's life.
   * @param path absolute
   * @throws Refusal 403 on a server that others reach, or for the root of the file system; 404 for what is no folder; 422
   */
  async add(path: string): Promise<void> {
    if (!this.#open)
      throw new Refusal(403, "forbidden", "folders are not added on a server that other machines reach", {
        remedy: "give the folder to headscope serve --root",
      });
    if (!isAbsolute(path) || path.includes("\0"))
      throw new Refusal(422, "usage", "the folder's path is not absolute", { remedy: "begin it with a slash" });
    const stats = await stat(path).catch(() => undefined);
    if (stats?.isDirectory() !== true) throw notFound(`there is no folder ${path}`, "check the path");
    const real = await realpath(path);
    if (dirname(real) === real)
      throw new Refusal(403, "forbidden", "the whole file system is no folder of models", {
        remedy: "give the folder that the models lie in",
      });
    if (this.#folders.length >= MOST)
      throw new Refusal(422, "limit", `${MOST} folders are the most`, { remedy: "start the server again" });
    if (!this.#folders.includes(real)) this.#folders.push(real);
  }
}

const MOST = 64;
