import { untrack } from "svelte";
import type { Problem } from "../../../backend/common/api/problem.ts";
import { type CallOptions, isAbort, problemOf } from "../api/client.ts";
import { events } from "./events.svelte.ts";

/** Seconds that an answer may be expected to take before the reader is asked whether to go on, unless a page says otherwise. */
const PATIENCE = 20;

/** Names this page's requests in the server's queue, apart from those of other tabs. */
export const TAB = Math.random().toString(36).slice(2, 10);
let count = 0;

/** The means by which one request is made. */
export interface Call<T> extends CallOptions {
  readonly signal: AbortSignal;
  readonly id: string;
  /** Shows a part of the answer on the way. */
  update(value: T): void;
}

/** Makes the request that answers a question. */
export type Ask<T> = (call: Call<T>) => Promise<T>;

/** Pace and conditions of following a question. */
export interface FollowOptions {
  /** Changes that follow each other faster than this are answered once, in milliseconds; default 0. */
  readonly pause?: number;
  /** Seconds that it may be expected to take before the reader is asked whether to go on; default 20. */
  readonly patience?: number;
  /** True if the reader asks, by a button, and the change of the question alone does not. */
  readonly byHand?: boolean;
  /** The answer that this one needs first: while it is not there, what has become of it is said here. */
  readonly after?: Answer<unknown>;
}

/**
 * State of a question: "empty" without one, "due" where the reader has not asked yet, "loading" also before the request
 * could be made, "long" where the reader is to say whether it is worth the time.
 */
export type Standing = "empty" | "due" | "loading" | "ready" | "failed" | "cancelled" | "long";

/**
 * The answer to a question that changes. A value is given only under the question that it answers; under another one it is `before`,
 * to be shown as what it is or not at all. The request of an outdated question is given up, and the server then stops computing it;
 * what still comes of it is dropped. A question that failed for want of a connection is asked again when there is one.
 */
export class Answer<T> {
  #question = $state.raw<string>();
  #held = $state.raw<{ readonly question: string; readonly value: T; readonly whole: boolean }>();
  #own = $state.raw<Standing>("empty");
  #problem = $state.raw<Problem>();
  #after = $state.raw<Answer<unknown>>();
  #id = $state.raw("");
  /** True if the request of the present question was made, or is about to be. */
  #asked = $state.raw(false);
  #ask: Ask<T> | undefined;
  #current: AbortController | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #changed = -Infinity;
  #rested = true;
  /** True if the reader waits for it however long it takes. */
  #patient = false;
  #patience = PATIENCE;

  /** The answer to the present question, also a part of it on the way; undefined until it is there. */
  get value(): T | undefined {
    return this.#held?.question === this.#question ? this.#held?.value : undefined;
  }

  /** The last answer, where it is one to another question than the present one. */
  get before(): T | undefined {
    return this.#question !== undefined && this.value === undefined ? this.#held?.value : undefined;
  }

  /** The answer to show: that to the present question, else the one before. */
  get latest(): T | undefined {
    return this.value ?? this.before;
  }

  /** True if the one to show answers another question than the present one. */
  get stale(): boolean {
    return this.before !== undefined;
  }

  get state(): Standing {
    return this.#foremost ? this.#foremost.state : this.#own;
  }

  get loading(): boolean {
    return this.state === "loading";
  }

  /** Why there is no answer; of "long" with the estimate. */
  get problem(): Problem | undefined {
    return this.#foremost ? this.#foremost.problem : this.#problem;
  }

  /** Name of the request in the server's queue. */
  get id(): string {
    return this.#foremost ? this.#foremost.id : this.#id;
  }

  /** The answer that this one waits for, while its own question could not be asked. */
  get #foremost(): Answer<unknown> | undefined {
    const after = this.#after;
    return this.#own === "loading" && !this.#asked && after && after.state !== "ready" ? after : undefined;
  }

  /**
   * Keeps the answer to a question; run in an effect.
   * @param question all that decides the answer, as data; undefined for none
   * @param ask undefined while it cannot be asked yet
   */
  follow(question: unknown, ask: Ask<T> | undefined, options: FollowOptions = {}): void {
    const { pause = 0, byHand = false, patience = PATIENCE, after } = options;
    const key = question === undefined ? undefined : JSON.stringify(question);
    untrack(() => {
      this.#ask = ask;
      this.#after = after;
      this.#patience = patience;
      if (key !== this.#question) this.#turnTo(key, pause, byHand);
      if (key === undefined || ask === undefined || byHand || this.#asked) return;
      this.#asked = true;
      if (this.#rested) this.#begin();
      else this.#timer = setTimeout(() => this.#begin(), pause);
    });
  }

  /** Asks the present question, also when it was asked before. @param patiently however long it takes */
  again(patiently = false): void {
    untrack(() => {
      if (this.#foremost) return this.#foremost.again(patiently);
      if (this.#question === undefined) return;
      this.#patient ||= patiently;
      if (this.#ask === undefined) this.#own = "loading";
      else this.#begin();
    });
  }

  /** Waits for the request that is under way. @returns the answer; undefined where none came */
  async settled(): Promise<T | undefined> {
    await this.#running;
    return untrack(() => (this.#own === "ready" ? this.value : undefined));
  }
  #running: Promise<void> | undefined;

  /** Changes the value in place, where there is one: news of a thing that was asked for before. */
  change(change: (value: T) => T): void {
    const held = untrack(() => this.#held);
    if (held !== undefined) this.#held = { ...held, value: change(held.value) };
  }

  /** Gives the request up. */
  cancel(): void {
    untrack(() => {
      if (this.#foremost) return this.#foremost.cancel();
      if (this.#own !== "loading") return;
      this.#stop();
      this.#asked = true;
      this.#own = "cancelled";
    });
  }

  /** Forgets everything. */
  clear(): void {
    untrack(() => {
      this.#turnTo(undefined, 0, false);
      this.#held = undefined;
    });
  }

  #turnTo(key: string | undefined, pause: number, byHand: boolean): void {
    this.#stop();
    const now = performance.now();
    this.#rested = now - this.#changed >= pause;
    this.#changed = now;
    this.#question = key;
    this.#id = "";
    this.#problem = undefined;
    this.#patient = false;
    const known = key !== undefined && this.#held?.question === key && this.#held.whole;
    this.#asked = known;
    this.#own = key === undefined ? "empty" : known ? "ready" : byHand ? "due" : "loading";
  }

  #stop(): void {
    clearTimeout(this.#timer);
    lost.delete(this as Answer<unknown>);
    this.#current?.abort();
    this.#current = undefined;
    this.#running = undefined;
  }

  #begin(): void {
    this.#stop();
    const [ask, question] = [this.#ask!, this.#question!];
    const mine = new AbortController();
    this.#current = mine;
    this.#asked = true;
    this.#own = "loading";
    this.#problem = undefined;
    this.#id = `${TAB}.${++count}`;
    const hold = (value: T, whole: boolean): void => {
      if (this.#current === mine) this.#held = { question, value, whole };
    };
    const call: Call<T> = {
      signal: mine.signal,
      id: this.#id,
      ...(this.#patient ? {} : { wait: this.#patience }),
      update: (value) => hold(value, false),
    };
    this.#running = ask(call).then(
      (value) => {
        hold(value, true);
        if (this.#current === mine) this.#own = "ready";
      },
      (error: unknown) => {
        if (this.#current === mine) this.#fail(error);
      },
    );
  }

  #fail(error: unknown): void {
    if (isAbort(error)) {
      this.#own = "cancelled";
      return;
    }
    this.#problem = problemOf(error);
    this.#own = this.#problem.kind === "long" ? "long" : "failed";
    if (this.#problem.status === 0 && this.#problem.kind === "network") lost.add(this as Answer<unknown>);
  }
}

/** An answer asked for by hand, again and again: its value stays until the next one is here. */
export class Reading<T> extends Answer<T> {
  constructor(ask: Ask<T>) {
    super();
    this.follow("", ask, { byHand: true });
  }

  /** Asks anew. @returns the answer; undefined where none came */
  read(): Promise<T | undefined> {
    this.again(true);
    return this.settled();
  }
}

/** Answers that wait for the connection to return. */
const lost = new Set<Answer<unknown>>();
events.onReturn(() => {
  for (const answer of [...lost]) answer.again();
});
