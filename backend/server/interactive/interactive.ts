import type { QueueEntry } from "../../common/api/health.ts";
import { Worker } from "../../jobs/client.ts";
import { modelIn } from "../../jobs/protocol.ts";
import type { WorkerAnswer, WorkerCrash, WorkerOptions } from "../../jobs/worker-process.ts";
import type { WorkerRequests } from "../../workers/requests/index.ts";
import type { Limits } from "../http/limits.ts";
import { asksFirst, limited } from "../http/problems.ts";
import { DeadlyModels } from "./deadly-models.ts";
import { type Effort, Speed } from "./effort.ts";

/** Milliseconds that the worker is given to end by itself. */
const PATIENCE = 500;

/** Who asks. */
export interface Caller {
  /** Names the request in the queue. */
  readonly id?: string | undefined;
  /** Seconds that it would wait for the answer: what is likely to take longer is refused with an estimate. */
  readonly wait?: number | undefined;
}

/** Options of one interactive request. */
export interface AskOptions {
  /** Aborted when nobody waits for the answer any more. */
  readonly signal: AbortSignal;
  /** Lets it compute for `longComputeMs`, and has it wait for other long ones where `effort` does not say otherwise. */
  readonly long?: boolean;
  readonly caller?: Caller;
  /** Amount that it computes; a request that does not say is taken for a short one unless it is `long`. */
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
  /** True where another was computed meanwhile, so that its time says nothing. */
  shared: boolean;
  /** Begins it. */
  start: () => void;
}

/** A model that is opened again while nobody waits. */
interface Reopening {
  readonly model: string;
  readonly controller: AbortController;
}

/** Payloads and answers of the kinds of requests that a worker takes. */
type RequestTypes = { readonly [K in string]: { readonly payload: unknown; readonly answer: unknown } };

/** Models that are opened again after a crash, those used last. */
const MOST_REOPENED = 6;

/**
 * The resident worker: it holds the open models and answers what a person waits for. Short and long requests stand in lines of
 * their own, each in the order of their coming; the worker does a short one between two steps of a long one, so that nobody
 * waits for the end of somebody else's long text. Requests whose client has gone leave their line, or are stopped where they are
 * computed. When the process dies, the models that were open are opened again as soon as nobody waits, but for the one that it
 * died of.
 */
export class Interactive<R extends RequestTypes = WorkerRequests> {
  readonly #worker: Worker;
  readonly #limits: Limits;
  readonly #speed = new Speed();
  readonly #lines: Readonly<Record<Lane, Entry[]>> = { short: [], long: [] };
  readonly #computing: Record<Lane, Entry | undefined> = { short: undefined, long: undefined };
  readonly #deadly: DeadlyModels;
  /** Models that have been asked for since the process started, the one used last at the end. */
  readonly #used = new Set<string>();
  /** Those that a dead process had open and the living one has not. */
  #lost: string[] = [];
  #reopening: Reopening | undefined;
  #closed = false;

  /** @param versionOf a text that changes when the files of a model do; default none ever changes */
  constructor(limits: Limits, options: WorkerOptions = {}, versionOf: (model: string) => string = () => "") {
    this.#limits = limits;
    this.#deadly = new DeadlyModels(versionOf);
    const onDeath = (crash: WorkerCrash): void => {
      this.#mourn(crash);
      options.onDeath?.(crash);
    };
    this.#worker = new Worker({ grace: limits.graceMs, ...options, onDeath });
  }

  /** Process id of the worker, while there is one. */
  get pid(): number | undefined {
    return this.#worker.pid;
  }

  /** Requests that wait for their turn. */
  get waiting(): number {
    return this.#lines.short.length + this.#lines.long.length;
  }

  /** Requests that are computed or wait, the long ones first, each line in its order. */
  get queue(): QueueEntry[] {
    return (["long", "short"] as const).flatMap((lane) => {
      const now = this.#computing[lane];
      return [...(now ? [now] : []), ...this.#lines[lane]].map((entry) => described(entry, lane));
    });
  }

  /** Says that a request of a kind counts as short, at worst. */
  isShort(kind: string, flops: number): boolean {
    return 1_000 * this.#speed.seconds(kind, flops) <= this.#limits.shortMs;
  }

  /** As `exchange`, without the binary part. */
  async ask<K extends keyof R & string>(
    kind: K,
    payload: R[K]["payload"],
    options: AskOptions,
  ): Promise<R[K]["answer"]> {
    return (await this.exchange(kind, payload, options)).value;
  }

  /**
   * Has the worker answer a request.
   * @throws what the handler threw; WorkerCrash; HeadscopeError "unsupported" for a model that has ended the worker twice;
   *   Refusal 428 where it takes longer than the caller waits, 429 where too many wait, 503 where it took too long; the signal's
   *   reason
   */
  async exchange<K extends keyof R & string>(
    kind: K,
    payload: R[K]["payload"],
    options: AskOptions,
  ): Promise<WorkerAnswer<R[K]["answer"]>> {
    const { signal, caller = {}, effort, long = false } = options;
    const model = modelIn(payload);
    if (model !== undefined) this.#deadly.check(model);
    const seconds = effort && this.#speed.seconds(kind, effort.flops);
    if (effort && seconds !== undefined && caller.wait !== undefined && seconds > caller.wait)
      throw asksFirst({ tokens: effort.tokens, seconds });
    const short = effort ? this.isShort(kind, effort.most ?? effort.flops) : !long;
    const lane: Lane = short ? "short" : "long";
    const entry: Entry = { kind, caller, effort, seconds, shared: false, start: () => {} };
    // What is opened for nobody yet makes way, unless it is what is asked for.
    if (this.#reopening?.model !== model) this.#reopening?.controller.abort();
    await this.#turn(lane, entry, signal);
    if (model !== undefined) this.#checkInTurn(model, lane);
    const most = long || !short ? this.#limits.longComputeMs : this.#limits.computeMs;
    const late = AbortSignal.timeout(most);
    const stop = AbortSignal.any([signal, late]);
    const answer = this.#compute<R[K]["answer"]>(lane, entry, payload, { ...options, signal: stop });
    if (model !== undefined) answer.then(() => this.#answered(model)).catch(() => {});
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
    this.#closed = true;
    return this.#worker.close(PATIENCE);
  }

  async #compute<T>(
    lane: Lane,
    entry: Entry,
    payload: unknown,
    { signal, onEvent }: AskOptions,
  ): Promise<WorkerAnswer<T>> {
    const follow = (event: unknown): void | Promise<void> => {
      const { event: name, done, total } = (event ?? {}) as { event?: string; done?: number; total?: number };
      if (name === "progress" && done !== undefined && total !== undefined) entry.progress = { done, total };
      return onEvent?.(event);
    };
    const { kind, effort } = entry;
    const began = performance.now();
    const request = { signal, onEvent: follow, aside: lane === "short" };
    const answer = await this.#worker.exchange<T>(kind, payload, request);
    if (effort && !entry.shared) this.#speed.learn(kind, effort.flops, performance.now() - began);
    return answer;
  }

  /** Those before it in the line may have asked for the same deadly model. */
  #checkInTurn(model: string, lane: Lane): void {
    try {
      this.#deadly.check(model);
    } catch (error) {
      this.#next(lane);
      throw error;
    }
  }

  #answered(model: string): void {
    this.#deadly.answered(model);
    this.#used.delete(model);
    this.#used.add(model);
    this.#lost = this.#lost.filter((each) => each !== model);
  }

  #mourn(crash: WorkerCrash): void {
    const culprit = crash.request?.model;
    if (culprit !== undefined) this.#deadly.died(culprit, crash);
    const open = [...this.#lost, ...this.#used].filter((model) => model !== culprit);
    this.#lost = [...new Set(open)].slice(-MOST_REOPENED);
    this.#used.clear();
    this.#reopen();
  }

  /** Opens the lost model that was used last, where nobody waits; a request takes its place. */
  #reopen(): void {
    const { short, long } = this.#computing;
    if (short !== undefined || long !== undefined || this.#reopening !== undefined || this.#closed) return;
    const model = this.#lost.pop();
    if (model === undefined) return;
    const controller = new AbortController();
    this.#reopening = { model, controller };
    this.#worker
      .request("describe", { model }, { signal: controller.signal })
      .then(
        () => this.#answered(model),
        () => {
          // One that cannot be opened is told whoever asks for it.
          if (controller.signal.aborted) this.#lost.push(model);
        },
      )
      .finally(() => {
        this.#reopening = undefined;
        this.#reopen();
      });
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
    if (next === undefined) {
      this.#reopen();
      return;
    }
    this.#begin(lane, next);
    next.start();
  }
}

function described({ kind, caller, effort, seconds, began, progress }: Entry, lane: Lane): QueueEntry {
  return {
    id: caller.id,
    kind,
    lane,
    state: began === undefined ? "waiting" : "computing",
    tokens: effort?.tokens,
    seconds,
    ms: began && performance.now() - began,
    progress,
  };
}

function whenAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}
