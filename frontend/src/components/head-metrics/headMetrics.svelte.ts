import type { RunCurves, RunDetail } from "../../../../backend/common/api/runs.ts";
import type { HeadMask } from "../../../../backend/common/heads/mask.ts";
import { readRun } from "../../../../backend/common/run-reference.ts";
import { get } from "../../api/client.ts";
import { Documents } from "../../api/documents.svelte.ts";
import { Answer } from "../../state/answer.svelte.ts";
import { events } from "../../state/events.svelte.ts";
import { workspace } from "../../state/workspace.svelte.ts";
import { documentMetrics, type Metric, trainingMetrics } from "./metrics.ts";

/** Scores, masks and training of the heads of the present model, for the Heads page and for the card of a head on any page. */
class HeadMetrics {
  /** Of the run that the model is a checkpoint of. */
  readonly curves = new Answer<RunCurves>();
  readonly detail = new Answer<RunDetail>();
  /** The step shown while the step slider is dragged; undefined otherwise. */
  scrub = $state<number>();
  readonly #masks = new Documents<HeadMask>((id) => get(`/api/masks/${id}`));

  readonly run = $derived(readRun(workspace.model));

  /** The step whose measurements are shown: that of the checkpoint, else the last. */
  readonly step = $derived(this.scrub ?? this.run?.step ?? this.detail.value?.checkpoints.at(-1) ?? Infinity);

  /** Every metric of every score document, then those measured along training. */
  readonly metrics: readonly Metric[] = $derived.by(() => {
    const info = workspace.info.value;
    if (info === undefined) return [];
    const curves = this.run === undefined ? undefined : this.curves.value;
    return [
      ...documentMetrics(workspace.documents),
      ...(curves === undefined ? [] : trainingMetrics(curves, info, this.step, this.detail.value?.evenScores)),
    ];
  });

  /** True if everything that there is to read has been read, so that "nothing" is an answer. */
  readonly settled = $derived(
    workspace.info.value !== undefined &&
      workspace.scores.value !== undefined &&
      (this.run === undefined || !this.curves.loading) &&
      workspace.documents.length === workspace.fittingScores.length,
  );

  /** Mask documents that fit the model, with their ids. */
  readonly masks: readonly { id: string; mask: HeadMask }[] = $derived(
    workspace.fittingMasks.flatMap(({ id }) => {
      const mask = this.#masks.get(id);
      return mask === undefined ? [] : [{ id, mask }];
    }),
  );

  /** Reads the run's curves where the model has changed; run in an effect. */
  follow(): void {
    const id = this.run?.id;
    const path = `/api/runs/${encodeURIComponent(id ?? "")}`;
    this.curves.follow(id, (call) => get<RunCurves>(`${path}/metrics`, call));
    this.detail.follow(id, (call) => get<RunDetail>(path, call));
  }

  /** Reads the curves anew as a run that still trains writes checkpoints. @returns ends that */
  listen(): () => void {
    return events.on("checkpoint", ({ run }) => {
      if (run !== this.run?.id) return;
      this.curves.again();
      this.detail.again();
    });
  }
}

export const headMetrics = new HeadMetrics();
