import { HeadscopeError } from "../../common/errors.ts";

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
    const value = this.values[key];
    const text = value === undefined ? "missing" : (JSON.stringify(value) ?? String(value)).slice(0, 60);
    return new HeadscopeError(
      value === undefined ? "missing" : "corrupt",
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

  /** A finite number above 0, or undefined when the field is absent or null. */
  optional(key: string): number | undefined {
    return (this.values[key] ?? undefined) === undefined ? undefined : this.positive(key);
  }

  /** True or false; `otherwise` when the field is absent or null. */
  flag(key: string, otherwise: boolean): boolean {
    const value = this.values[key] ?? otherwise;
    if (typeof value !== "boolean") throw this.#wrong(key, "true or false");
    return value;
  }

  /** A text; `otherwise` when the field is absent or null (required without one). */
  text(key: string, otherwise?: string): string {
    const value = this.values[key] ?? otherwise;
    if (typeof value !== "string") throw this.#wrong(key, "a text");
    return value;
  }

  /** A list of texts, of `count` entries where given; undefined when the field is absent or null. */
  texts(key: string, count?: number): readonly string[] | undefined {
    const value = this.values[key] ?? undefined;
    if (value === undefined) return undefined;
    const isList = Array.isArray(value) && value.every((entry) => typeof entry === "string");
    if (!isList || (count !== undefined && value.length !== count))
      throw this.#wrong(key, `a list of ${count ?? "some"} texts`);
    return value as readonly string[];
  }

  /** The fields of an object within, named after it in errors; undefined when the field is absent or null. */
  object(key: string): Fields | undefined {
    const value = this.values[key] ?? undefined;
    if (value === undefined) return undefined;
    if (typeof value !== "object" || Array.isArray(value)) throw this.#wrong(key, "an object");
    return new Fields(this.path, value as Record<string, unknown>, `${this.owner}${key}.`);
  }

  /** The same fields, and others where these are absent. */
  with(values: Readonly<Record<string, unknown>>): Fields {
    const added = Object.entries(values).filter(
      ([key, value]) => value !== undefined && this.values[key] === undefined,
    );
    return new Fields(this.path, { ...this.values, ...Object.fromEntries(added) }, this.owner);
  }

  /**
   * Refuses a field's value that the engine doesn't do.
   * @param expected what it does
   */
  refused(key: string, expected: string): HeadscopeError {
    const value = (JSON.stringify(this.values[key]) ?? "absent").slice(0, 60);
    return new HeadscopeError(
      "unsupported",
      `${this.path}: ${this.owner}${key} is ${value}; headscope does ${expected}`,
      { remedy: "choose another checkpoint" },
    );
  }

  /** Refuses a model that needs what the engine doesn't do. */
  unsupported(what: string): HeadscopeError {
    return new HeadscopeError("unsupported", `${this.path} needs ${what}, which headscope does not do`, {
      remedy: "choose another checkpoint",
    });
  }

  /** Two facts of a checkpoint that contradict each other. */
  contradiction(what: string, remedy = "take weights and config from the same model"): HeadscopeError {
    return new HeadscopeError("mismatch", `${this.path}: ${what}`, { remedy });
  }
}
