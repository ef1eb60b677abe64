import { untrack } from "svelte";
import type { Problem } from "../../../backend/common/api/problem.ts";
import { ApiError, isAbort, problem } from "./client.ts";

/** State of the latest of several requests for the same thing. */
export type Outcome<T> =
  | { readonly state: "empty" }
  | { readonly state: "loading"; readonly value?: T }
  | { readonly state: "ready"; readonly value: T }
  | { readonly state: "failed"; readonly problem: Problem; readonly value?: T }
  | { readonly state: "cancelled"; readonly value?: T };

/**
 * The latest answer to a question that changes: a new request gives the one before up (the server then stops computing it),
 * and the value of the last answer stays until the next one is here, so that nothing jumps.
 */
export class Latest<T> {
  #outcome = $state.raw<Outcome<T>>({ state: "empty" });
  #current: AbortController | undefined;

  get outcome(): Outcome<T> {
    return this.#outcome;
  }

  get state(): Outcome<T>["state"] {
    return this.#outcome.state;
  }

  get loading(): boolean {
    return this.#outcome.state === "loading";
  }

  /** The last answer, also while the next one is awaited. */
  get value(): T | undefined {
    return this.#outcome.state === "empty" ? undefined : this.#outcome.value;
  }

  get problem(): Problem | undefined {
    return this.#outcome.state === "failed" ? this.#outcome.problem : undefined;
  }

  /** Asks anew. @param ask is given the signal that gives it up @param update called with parts of the answer on the way */
  async ask(ask: (signal: AbortSignal, update: (value: T) => void) => Promise<T>): Promise<void> {
    this.#current?.abort();
    const mine = new AbortController();
    this.#current = mine;
    // An effect that asks must not depend on the answer.
    this.#outcome = untrack(() => ({ state: "loading", ...this.#kept() }));
    const update = (value: T): void => {
      if (this.#current === mine) this.#outcome = { state: "loading", value };
    };
    try {
      const value = await ask(mine.signal, update);
      if (this.#current === mine) this.#outcome = { state: "ready", value };
    } catch (error) {
      if (this.#current !== mine) return;
      if (isAbort(error)) this.#outcome = { state: "cancelled", ...this.#kept() };
      else this.#outcome = { state: "failed", problem: problemOf(error), ...this.#kept() };
    }
  }

  /** Changes the value in place, where there is one: news of a thing that was asked for before. */
  change(change: (value: T) => T): void {
    const outcome = this.#outcome;
    if (outcome.state === "empty" || outcome.value === undefined) return;
    this.#outcome = { ...outcome, value: change(outcome.value) };
  }

  /** Gives the request up; the value stays. */
  cancel(): void {
    this.#current?.abort();
  }

  /** Forgets everything. */
  clear(): void {
    this.#current?.abort();
    this.#current = undefined;
    this.#outcome = { state: "empty" };
  }

  #kept(): { value?: T } {
    const value = this.value;
    return value === undefined ? {} : { value };
  }
}

/** An error as a problem; what nobody threw on purpose is a defect, and logged. */
export function problemOf(error: unknown): Problem {
  if (error instanceof ApiError) return error.problem;
  console.error(error);
  const detail = error instanceof Error ? error.message : String(error);
  return problem("defect", "Defect", detail, "reload the page");
}
