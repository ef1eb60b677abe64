import { type Answer, Worker, WorkerCrash, type WorkerOptions } from "../jobs/client.ts";
import type { QueueEntry } from "./api.ts";
import { type Effort, Speed } from "./effort.ts";
import type { Limits } from "./limits.ts";
import { asksFirst, limited } from "./problems.ts";

/** Milliseconds that the worker is given to end by itself. */
const PATIENCE = 500;

/** Who asks. */
export interface Caller {
  /** Names the request in the queue. */
  readonly id?: string;
  /** Seconds that it would wait for the answer: what is likely to take longer is refused with an estimate. */
  readonly wait?: number;
}

/** How one interactive request is followed. */
export interface AskOptions {
  /** Aborted when nobody waits for the answer any more. */
  readonly signal: AbortSignal;
  /** Whether it may compute for `longComputeMs`, and waits for other long ones where `effort` does not say otherwise. */
  readonly long?: boolean;
  readonly caller?: Caller;
  /** How much it computes; a request that does not say is taken for a short one unless it is `long`. */
  readonly effort?: Effort | undefined;
  readonly onEvent?: (event: unknown) => void | Promise<void>;
}

type Lane = "short" | "long";

/** A request from its coming to its end. */
interface Entry {
  readonly kind: string;
  readonly caller: Caller;
  readonly effort: Effort | undefined;
  readonly seconds: number | undefined;
  /** When it began to be computed, in milliseconds; undefined while it waits. */
  began?: number;
  progress?: { done: number; total: number };
  /** Whether another was computed meanwhile, so that its time says nothing. */
  shared: boolean;
  /** Begins it. */
  start: () => void;
}

/**
 * The resident worker: it holds the open models and answers what a person waits for. Short and long requests stand in lines of
 * their own, each in the order of their coming; the worker does a short one between two steps of a long one, so that nobody
 * waits for the end of somebody else's long text. Requests whose client has gone leave their line, or are stopped where they are
 * computed.
 */
export class Interactive {
  readonly #worker: Worker;
  readonly #limits: Limits;
  readonly #speed = new Speed();
  readonly #lines: Readonly<Record<Lane, Entry[]>> = { short: [], long: [] };
  readonly #computing: Record<Lane, Entry | undefined> = { short: undefined, long: undefined };

  constructor(limits: Limits, options: WorkerOptions = {}) {
    this.#limits = limits;
    this.#worker = new Worker({ grace: limits.graceMs, ...options });
  }

  /** Process id of the worker, while there is one. */
  get pid(): number | undefined {
    return this.#worker.pid;
  }

  /** Requests that wait for their turn. */
  get waiting(): number {
    return this.#lines.short.length + this.#lines.long.length;
  }

  /** What is computed and what waits, the long ones first, each line in its order. */
  get queue(): QueueEntry[] {
    return (["long", "short"] as const).flatMap((lane) => {
      const now = this.#computing[lane];
      return [...(now ? [now] : []), ...this.#lines[lane]].map((entry) => described(entry, lane));
    });
  }

  /** Whether a request of a kind counts as short, at worst. */
  isShort(kind: string, flops: number): boolean {
    return 1_000 * this.#speed.seconds(kind, flops) <= this.#limits.shortMs;
  }

  /** As `exchange`, without the binary part. */
  async ask<T>(kind: string, payload: unknown, options: AskOptions): Promise<T> {
    return (await this.exchange<T>(kind, payload, options)).value;
  }

  /**
   * Has the worker answer a request.
   * @throws what the handler threw; WorkerCrash; Refusal 428 where it takes longer than the caller waits, 429 where too many wait,
   *   503 where it took too long; the signal's reason
   */
  async exchange<T>(kind: string, payload: unknown, options: AskOptions): Promise<Answer<T>> {
    const { signal, caller = {}, effort, long = false } = options;
    const seconds = effort && this.#speed.seconds(kind, effort.flops);
    if (effort && seconds !== undefined && caller.wait !== undefined && seconds > caller.wait)
      throw asksFirst({ tokens: effort.tokens, seconds });
    const short = effort ? this.isShort(kind, effort.most ?? effort.flops) : !long;
    const lane: Lane = short ? "short" : "long";
    const entry: Entry = { kind, caller, effort, seconds, shared: false, start: () => {} };
    await this.#turn(lane, entry, signal);
    const most = long || !short ? this.#limits.longComputeMs : this.#limits.computeMs;
    const late = AbortSignal.timeout(most);
    const stop = AbortSignal.any([signal, late]);
    const answer = this.#compute<T>(lane, entry, payload, { ...options, signal: stop });
    // The worker is free for the next one when it has ended, or given up, this one.
    answer.catch(() => {}).finally(() => this.#next(lane));
    try {
      return await Promise.race([answer, whenAborted(stop)]);
    } catch (error) {
      if (signal.aborted || !late.aborted) throw error;
      throw limited(503, `${kind} was not done within ${most / 1000} s, and was stopped`, "ask for less at once");
    }
  }

  /** Ends the worker, which has nothing to save; a request that it computes fails. */
  close(): Promise<void> {
    return this.#worker.close(PATIENCE);
  }

  async #compute<T>(lane: Lane, entry: Entry, payload: unknown, { signal, onEvent }: AskOptions): Promise<Answer<T>> {
    const follow = (event: unknown): void | Promise<void> => {
      const { event: name, done, total } = (event ?? {}) as { event?: string; done?: number; total?: number };
      if (name === "progress" && done !== undefined && total !== undefined) entry.progress = { done, total };
      return onEvent?.(event);
    };
    const { kind, effort } = entry;
    const began = performance.now();
    const request = { signal, onEvent: follow, aside: lane === "short" };
    let answer: Answer<T>;
    try {
      answer = await this.#worker.exchange<T>(kind, payload, request);
    } catch (error) {
      // A short one that was done aside may have died of the other: it is done once more, alone.
      if (!(error instanceof WorkerCrash && lane === "short" && entry.shared) || signal.aborted) throw error;
      entry.shared = false;
      return this.#worker.exchange<T>(kind, payload, request);
    }
    if (effort && !entry.shared) this.#speed.learn(kind, effort.flops, performance.now() - began);
    return answer;
  }

  async #turn(lane: Lane, entry: Entry, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#computing[lane] === undefined) return this.#begin(lane, entry);
    const { waiting } = this.#limits;
    if (this.waiting >= waiting)
      throw limited(429, `${waiting} requests wait for the worker already`, "wait for their answers, then ask again");
    const line = this.#lines[lane];
    await new Promise<void>((resolve, reject) => {
      entry.start = () => {
        signal.removeEventListener("abort", leave);
        resolve();
      };
      const leave = (): void => {
        line.splice(line.indexOf(entry), 1);
        reject(signal.reason);
      };
      line.push(entry);
      signal.addEventListener("abort", leave, { once: true });
    });
  }

  #begin(lane: Lane, entry: Entry): void {
    entry.began = performance.now();
    this.#computing[lane] = entry;
    const other = this.#computing[lane === "short" ? "long" : "short"];
    if (other === undefined) return;
    entry.shared = true;
    other.shared = true;
  }

  #next(lane: Lane): void {
    this.#computing[lane] = undefined;
    const next = this.#lines[lane].shift();
    if (next === undefined) return;
    this.#begin(lane, next);
    next.start();
  }
}

function described({ kind, caller, effort, seconds, began, progress }: Entry, lane: Lane): QueueEntry {
  return {
    ...(caller.id === undefined ? {} : { id: caller.id }),
    kind,
    lane,
    state: began === undefined ? "waiting" : "computing",
    ...(effort === undefined ? {} : { tokens: effort.tokens }),
    ...(seconds === undefined ? {} : { seconds }),
    ...(began === undefined ? {} : { ms: performance.now() - began }),
    ...(progress === undefined ? {} : { progress }),
  };
}

function whenAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}
