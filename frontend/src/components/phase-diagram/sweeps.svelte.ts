import type { SweepDocument, SweepEntry } from "../../../../backend/common/api/sweeps.ts";
import { hasEnded, isActive } from "../../../../backend/common/words.ts";
import { get } from "../../api/client.ts";
import { Answer } from "../../state/answer.svelte.ts";
import { workspace } from "../../state/workspace.svelte.ts";
import { sweepParam } from "./params.ts";

/** The sweeps that are kept, and the one that is looked at with what its runs have measured. */
class SweepsView {
  readonly entries = new Answer<SweepEntry[]>();
  readonly document = new Answer<SweepDocument>();

  /** The entry of the sweep that is looked at. */
  readonly shown = $derived.by(() => {
    const all = this.entries.latest ?? [];
    return all.find(({ id }) => id === sweepParam.value) ?? all[0];
  });

  /** The job that sweeps now or will, the newest one. */
  readonly job = $derived(workspace.jobs.value?.findLast(({ kind, status }) => kind === "sweep" && isActive(status)));

  /** Keeps to the list, which a sweep that begins adds to, and to the one that is shown, whose runs end; run in an effect. */
  follow(): void {
    const jobs = (workspace.jobs.value ?? []).filter(({ kind }) => kind === "sweep");
    const begun = jobs.map(({ id, status, progress }) => [id, status, progress !== undefined]);
    this.entries.follow([begun], (call) => get<SweepEntry[]>("/api/sweeps", call));
    const { shown } = this;
    const runs = (workspace.runs.value ?? []).filter(({ task }) => task === shown?.task);
    const ended = runs.filter(({ status }) => hasEnded(status)).map(({ id, status }) => `${id} ${status}`);
    this.document.follow(shown && [shown.id, ended], (call) =>
      get<SweepDocument>(`/api/sweeps/${encodeURIComponent(shown!.id)}`, call),
    );
  }
}

export const sweepsView = new SweepsView();
