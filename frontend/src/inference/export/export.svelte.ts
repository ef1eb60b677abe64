import type { ExportResult } from "../../../../backend/common/api/exports.ts";
import type { ScoresEntry } from "../../../../backend/common/api/heads.ts";
import { type CallOptions, post } from "../../api/client.ts";
import { Answer, Reading } from "../../state/answer.svelte.ts";
import { choice, json, text } from "../../state/codecs.ts";
import { urlParam } from "../../state/url.svelte.ts";
import { workspace } from "../../state/workspace.svelte.ts";
import { maskState } from "../mask/maskState.svelte.ts";
import { defaultFrom, type From, given, type Present, refusal } from "./formats.ts";

export const exportParams = {
  format: urlParam("format", text("duo-attention")),
  from: urlParam("export-from", choice(["auto", "mask", "scores"], "auto")),
  values: urlParam("export-params", json<Record<string, string>>({})),
};

/** The file that the page leads to: a format, what it takes, and what was written. */
class Exporting {
  /** Files written for the present request. */
  readonly written = new Answer<ExportResult>();

  readonly formats = $derived(workspace.definitions.value?.exports ?? []);
  readonly format = $derived(this.formats.find(({ name }) => name === exportParams.format.value) ?? this.formats[0]);
  readonly present = $derived.by(
    (): Present => ({ mask: maskState.mask, scores: maskState.document, metric: maskState.metric }),
  );

  readonly from = $derived.by((): From => {
    const asked = exportParams.from.value;
    if (this.format === undefined) return "mask";
    return asked !== "auto" && this.format.from.includes(asked) ? asked : defaultFrom(this.format, this.present);
  });

  /** Why the format cannot be written now; undefined when it can. */
  readonly refused = $derived.by(() => this.format && refusal(this.format, this.from, this.present));

  readonly request = $derived.by(() => {
    if (this.format === undefined) return undefined;
    const { from } = this;
    const { metric, ...rest } = given(exportParams.values.value);
    // The metric that the page shows is the one to export, unless the form says otherwise; a mask has none.
    const takesMetric = from === "scores" && this.format.flags.some(({ name }) => name === "metric");
    return {
      format: this.format.name,
      [from]: from === "mask" ? (maskState.savedAs ?? maskState.mask) : maskState.document?.id,
      params: takesMetric ? { metric: metric ?? maskState.metric, ...rest } : rest,
      ...(this.format.needsCheckpoint ? { model: workspace.model } : {}),
    };
  });

  /** True if what is shown is no longer what would be written. */
  readonly stale = $derived(this.written.stale);

  /** Keeps to what would be written now; run in an effect of the page. */
  follow(): void {
    const { request } = this;
    const ask = request && ((call: CallOptions) => post<ExportResult>("/api/exports", request, call));
    this.written.follow(request, ask, { byHand: true });
  }

  write(): void {
    this.written.again(true);
  }
}

export const exporting = new Exporting();

export const importParams = { format: urlParam("import-format", text("duo-attention")) };

/** Another project's file on its way to the library. */
class Importing {
  #files: readonly File[] = [];
  readonly entry = new Reading<ScoresEntry>(async (call) => {
    const contents = await Promise.all(this.#files.map(async (file) => [file.name, await file.text()] as const));
    const body = { format: this.format!.name, model: workspace.model, files: Object.fromEntries(contents) };
    return post<ScoresEntry>("/api/imports", body, call);
  });

  readonly formats = $derived(workspace.definitions.value?.imports ?? []);
  readonly format = $derived(this.formats.find(({ name }) => name === importParams.format.value) ?? this.formats[0]);

  /** @param files as the user picked them; their contents are sent */
  async read(files: readonly File[]): Promise<void> {
    if (this.format === undefined || files.length === 0) return;
    this.#files = files;
    await this.entry.read();
  }
}

export const importing = new Importing();
