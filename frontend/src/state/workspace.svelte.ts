import type { Definitions } from "../../../backend/common/api/definitions.ts";
import type { MaskEntry, ScoresEntry } from "../../../backend/common/api/heads.ts";
import type { Health } from "../../../backend/common/api/health.ts";
import type { JobSummary } from "../../../backend/common/api/jobs.ts";
import type { ModelEntry, ModelInfo } from "../../../backend/common/api/models.ts";
import type { RunSummary } from "../../../backend/common/api/runs.ts";
import type { HeadScores } from "../../../backend/common/heads/scores.ts";
import { isActive } from "../../../backend/common/words.ts";
import { get } from "../api/client.ts";
import { Documents } from "../api/documents.svelte.ts";
import { Answer, Reading } from "./answer.svelte.ts";
import { text } from "./codecs.ts";
import { events } from "./events.svelte.ts";
import { urlParam } from "./url.svelte.ts";

const chosenModel = urlParam("model", text());

/** A score document with its id in the data folder. */
export type ScoreDocument = HeadScores & { readonly id: string };

/** A thing of the server's under its path: a list, or what it says of itself. */
class Listing<T> extends Reading<T> {
  constructor(path: string) {
    super((call) => get<T>(path, call));
  }

  /** Puts an item of a list in place of the same one, or at the end. */
  put<I>(this: Listing<I[]>, item: I, same: (other: I) => boolean): void {
    this.change((items) => {
      const at = items.findIndex(same);
      return at < 0 ? [...items, item] : items.with(at, item);
    });
  }
}

/** The server's lists: read once, kept true by its events. Every list is undefined until it has been read. */
class Workspace {
  readonly health = new Listing<Health>("/api/health");
  readonly definitions = new Listing<Definitions>("/api/definitions");
  readonly models = new Listing<ModelEntry[]>("/api/models");
  readonly runs = new Listing<RunSummary[]>("/api/runs");
  readonly jobs = new Listing<JobSummary[]>("/api/jobs");
  readonly scores = new Listing<ScoresEntry[]>("/api/scores");
  readonly masks = new Listing<MaskEntry[]>("/api/masks");
  /** Of the model that is worked with. */
  readonly info = new Answer<ModelInfo>();
  /** Score documents. */
  readonly #documents = new Documents<ScoreDocument>(async (id) => ({
    ...(await get<HeadScores>(`/api/scores/${id.split("/").map(encodeURIComponent).join("/")}`)),
    id,
  }));

  /** The model that is worked with: the URL's, else the one that `npm start` scored, else the first that is ready. "" until known. */
  get model(): string {
    const { start } = this.health.value ?? {};
    const ready = this.models.value?.filter((each) => each.ready) ?? [];
    return chosenModel.value || start?.model || ready[0]?.ref || "";
  }

  set model(ref: string) {
    chosenModel.value = ref;
  }

  /** Parameters for `view.href` to go somewhere with another model. */
  withModel(ref: string): Record<string, string | undefined> {
    return chosenModel.to(ref);
  }

  /** The entries of the score documents of the present model's weights, newest last. */
  get fittingScores(): readonly ScoresEntry[] {
    return this.info.value === undefined ? [] : this.scoresOf(this.info.value);
  }

  /** Score documents of the present model's weights, newest last; those not read yet are asked for. */
  get documents(): readonly ScoreDocument[] {
    return this.info.value === undefined ? [] : this.documentsOf(this.info.value);
  }

  /** The entries of the score documents of a model's weights. */
  scoresOf(info: Pick<ModelInfo, "ref" | "digest">): readonly ScoresEntry[] {
    return (this.scores.value ?? []).filter(({ model }) =>
      model.digest === undefined ? model.ref === info.ref : model.digest === info.digest,
    );
  }

  /** Score documents of a model's weights; those not read yet are asked for. */
  documentsOf(info: Pick<ModelInfo, "ref" | "digest">): readonly ScoreDocument[] {
    return this.scoresOf(info).flatMap(({ id }) => this.document(id) ?? []);
  }

  /** A score document; undefined until it has been read. */
  document(id: string): ScoreDocument | undefined {
    return this.#documents.get(id);
  }

  /** The newest job of a kind that is at work for a model, or waits; of the present one by default. */
  activeJob(kind: JobSummary["kind"], model = this.model): JobSummary | undefined {
    return this.jobs.value?.findLast((job) => job.kind === kind && job.model === model && isActive(job.status));
  }

  /** Masks that fit the present model. */
  get fittingMasks(): readonly MaskEntry[] {
    const info = this.info.value;
    return (this.masks.value ?? []).filter(
      ({ model }) =>
        info !== undefined &&
        (model.digest === undefined || model.digest === info.digest) &&
        model.layers === info.layers &&
        model.kvHeads === info.kvHeads,
    );
  }

  /** Reads everything, and keeps it true; called once by the app. */
  open(): void {
    this.refresh();
    events.on("reset", () => this.refresh());
    events.on("library", ({ scores }) => {
      if (scores !== undefined) this.#documents.renew(scores);
      void this.scores.read();
      void this.masks.read();
    });
    events.on("start", (start) => this.health.change((health) => ({ ...health, start })));
    events.on("checkpoint", () => this.models.read());
    events.on("job", (job) => {
      this.jobs.put(job, ({ id }) => id === job.id);
      if (job.status === "done" && job.kind === "pull") void this.models.read();
    });
    events.on("run", (run) => this.runs.put(run, ({ id }) => id === run.id));
  }

  /** Reads everything anew. */
  refresh(): void {
    this.info.again();
    this.#documents.renew();
    const { health, definitions, models, runs, jobs, scores, masks } = this;
    for (const listing of [health, definitions, models, runs, jobs, scores, masks]) void listing.read();
  }

  /** Keeps `info` on the model that is worked with; run in an effect of the app. */
  follow(): void {
    const { model } = this;
    const entry = this.models.value?.find(({ ref }) => ref === model);
    const known = entry?.ready !== false && model !== "";
    this.info.follow(known ? model : undefined, (call) =>
      get<ModelInfo>(`/api/models/${encodeURIComponent(model)}`, call),
    );
  }
}

export const workspace = new Workspace();
