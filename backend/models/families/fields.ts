import { HeadscopeError } from "../../errors.ts";

/** Reads typed fields from a checkpoint's metadata, with errors that name file, field, expected and found. */
export class Fields {
  readonly path: string;
  readonly values: Readonly<Record<string, unknown>>;
  /** Put before a field's name in errors, such as "config.json's ". */
  readonly owner: string;

  constructor(path: string, values: Readonly<Record<string, unknown>>, owner = "") {
    this.path = path;
    this.values = values;
    this.owner = owner;
  }

  #wrong(key: string, expected: string): HeadscopeError {
    const found = this.values[key];
    const text = found === undefined ? "missing" : (JSON.stringify(found) ?? String(found)).slice(0, 60);
    return new HeadscopeError(
      found === undefined ? "missing" : "corrupt",
      `${this.path}: ${this.owner}${key} is ${text}; expected ${expected}`,
      { remedy: "fetch or convert the checkpoint again" },
    );
  }

  /** A whole number of 1 or more; `otherwise` when the field is absent or null (required without one). */
  count(key: string, otherwise?: number): number {
    const value = this.values[key] ?? otherwise;
    if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 1 || value > 2 ** 31) {
      throw this.#wrong(key, "a whole number of 1 or more");
    }
    return value;
  }

  /** A finite number above 0; `otherwise` when the field is absent or null (required without one). */
  positive(key: string, otherwise?: number): number {
    const value = this.values[key] ?? otherwise;
    if (typeof value !== "number" || !Number.isFinite(value) || value <= 0) throw this.#wrong(key, "a number above 0");
    return value;
  }

  /** Refuses a model that needs what the engine doesn't do. */
  unsupported(what: string): HeadscopeError {
    return new HeadscopeError("unsupported", `${this.path} needs ${what}, which headscope does not do`, {
      remedy: "choose another checkpoint",
    });
  }

  /** Two facts of a checkpoint that contradict each other. */
  contradiction(what: string): HeadscopeError {
    return new HeadscopeError("mismatch", `${this.path}: ${what}`, {
      remedy: "take weights and config from the same model",
    });
  }
}
