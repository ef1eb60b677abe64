import type * as Svelte from "svelte";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Events, JobSummary, ModelEntry, PairInput, RunSummary } from "../../../backend/server/api.ts";
import type * as Selection from "../../../frontend/src/state/selection.svelte.ts";
import type * as Url from "../../../frontend/src/state/url.svelte.ts";

/** What the server would say, by method and path. */
type Answers = Record<string, unknown>;

/** The connection that the page has opened. */
let source: FakeSource | undefined;
class FakeSource extends EventTarget {
  onopen: (() => void) | undefined;
  onerror: (() => void) | undefined;
  constructor() {
    super();
    source = this;
  }
}

const shape = { layers: 2, heads: 4, kvHeads: 2 };
const smol: ModelEntry = {
  ref: "smol",
  title: "A small model",
  kind: "package",
  ready: true,
  licence: "MIT",
  bytes: 98_362_432,
};
const absent: ModelEntry = { ref: "big", title: "Not here", kind: "package", ready: false, bytes: 2e9 };
const ofRun: ModelEntry = { ref: "run:induction-1", title: "induction", kind: "run", ready: true };
const run: RunSummary = {
  ...{
    id: "induction-1",
    task: "induction",
    status: "interrupted",
    step: 400,
    steps: 1000,
    seed: 0,
    group: "induction-1",
  },
  ...{ job: 7, created: "2026-01-01T00:00:00Z", updated: "2026-01-01T00:01:00Z", tokens: true },
};
const job: JobSummary = {
  id: 7,
  kind: "train",
  title: "training induction-1",
  status: "interrupted",
  created: "2026-01-01T00:00:00Z",
};
const scores = {
  ...{ format: "headscope.head-scores/1", model: { ref: "smol", digest: "sha256:1", ...shape }, probe: "induction" },
  metrics: {
    induction: {
      axis: "heads",
      values: [
        [0, 0.1, 0.2, 0.3],
        [0.9, 0.4, 0, 0.8],
      ],
    },
  },
};

const empty: Answers = {
  "GET /api/health": { version: "0.1.0", folder: "/data" },
  "GET /api/definitions": { probes: [], tasks: [], experiments: [], exports: [], imports: [] },
  "GET /api/models": [absent],
  "GET /api/runs": [],
  "GET /api/jobs": [],
  "GET /api/scores": [],
  "GET /api/masks": [],
};
const full: Answers = {
  ...empty,
  "GET /api/models": [smol, absent, ofRun],
  "GET /api/models/smol": { ref: "smol", digest: "sha256:1", family: "llama", ...shape, config: {} },
  "GET /api/runs": [run],
  "GET /api/jobs": [job],
  "GET /api/scores": [{ id: "start/induction.json", model: scores.model, probe: "induction", metrics: [] }],
  "GET /api/scores/start/induction.json": scores,
};

let svelte: typeof Svelte;
let asked: { call: string; body: unknown }[];
let shown:
  | { root: HTMLElement; view: typeof Url.view; selection: typeof Selection.selection; close: () => void }
  | undefined;

/** Opens Home over a server that gives these answers; everything else is refused with 404. */
async function open(answers: Answers): Promise<NonNullable<typeof shown>> {
  asked = [];
  vi.stubGlobal("EventSource", FakeSource);
  vi.stubGlobal("fetch", async (path: string, { method = "GET", body }: RequestInit = {}) => {
    const call = `${method} ${path}`;
    asked.push({ call, body: body === undefined ? undefined : JSON.parse(String(body)) });
    if (call in answers) return Response.json(answers[call]);
    return Response.json({ title: "Not found", status: 404, detail: `no ${call}`, kind: "input" }, { status: 404 });
  });
  vi.resetModules(); // the stores live as long as the page, and Svelte with them
  svelte = await import("svelte");
  history.replaceState(null, "", "/");
  const [{ default: Home }, { workspace }, { view }, { selection }] = await Promise.all([
    import("../../../frontend/src/home/Page.svelte"),
    import("../../../frontend/src/state/workspace.svelte.ts"),
    import("../../../frontend/src/state/url.svelte.ts"),
    import("../../../frontend/src/state/selection.svelte.ts"),
  ]);
  const root = document.createElement("div");
  document.body.append(root);
  workspace.open();
  const page = svelte.mount(Home, { target: root });
  // As the app's effect does.
  for (let i = 0; i < 5; i++) {
    workspace.follow();
    await settle();
  }
  const close = () => {
    svelte.unmount(page);
    root.remove();
  };
  shown = { root, view, selection, close };
  return shown;
}

async function settle(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 0));
  await svelte.tick();
}

/** The server tells something. */
async function tell<K extends keyof Events>(name: K, data: Events[K]): Promise<void> {
  source!.dispatchEvent(new MessageEvent(name, { data: JSON.stringify(data) }));
  await settle();
}

function card(root: HTMLElement, title: string): HTMLElement {
  const found = [...root.querySelectorAll<HTMLElement>("section")].find((each) =>
    each.querySelector("h2")?.textContent.startsWith(title),
  );
  if (found === undefined) throw new Error(`there is no card ${title}`);
  return found;
}

function control(root: ParentNode, label: string): HTMLElement {
  const found = [...root.querySelectorAll<HTMLElement>("button, a")].find((each) =>
    each.textContent.trim().startsWith(label),
  );
  if (found === undefined) throw new Error(`there is no ${label}`);
  return found;
}

beforeEach(() => localStorage.clear());
afterEach(() => {
  shown?.close();
  shown = undefined;
  vi.unstubAllGlobals();
});

describe("the score documents", () => {
  it("that Home does not show are not read", async () => {
    const entries = ["attention-sink", "induction", "retrieval"].map((probe) => ({
      ...{ id: `start/${probe}.json`, model: scores.model, probe, metrics: [] },
    }));
    const { root } = await open({ ...full, "GET /api/scores": entries });
    expect(root.querySelector('[data-head="1.3"]')).not.toBeNull();
    expect(card(root, "Find the heads").textContent).toContain(
      "3 files of scores: attention-sink, induction, retrieval",
    );
    expect(asked.filter(({ call }) => call.startsWith("GET /api/scores/"))).toEqual([
      { call: "GET /api/scores/start/induction.json", body: undefined },
    ]);
  });
});

describe("Home of a fresh data folder", () => {
  it("says what is missing everywhere, and what to do", async () => {
    const { root } = await open(empty);
    expect(card(root, "Runs").textContent).toContain("Nothing has been trained yet");
    expect(card(root, "Jobs").textContent).toContain("No job has run yet");
    expect(control(root, "Start a run").getAttribute("href")).toBe("/training?new=1");
  });

  it("fetches a model, shows how far it is, cancels, and says why it failed", async () => {
    const pulling: JobSummary = {
      id: 3,
      kind: "pull",
      model: "big",
      title: "fetching big",
      status: "running",
      created: "2026-01-01T00:00:00Z",
    };
    const { root } = await open({ ...empty, "POST /api/jobs": pulling, "DELETE /api/jobs/3": {} });
    const models = card(root, "Models");
    control(models, "Fetch").click();
    await settle();
    expect(asked.at(-1)).toEqual({ call: "POST /api/jobs", body: { kind: "pull", model: "big" } });
    await tell("job", { ...pulling, progress: { done: 30, total: 120, label: "fetching" }, remaining: 65_000 });
    expect(models.textContent).toContain("25%");
    expect(models.textContent).toContain("65 s left");
    control(models, "Cancel").click();
    await settle();
    expect(asked.at(-1)?.call).toBe("POST /api/jobs/3/cancel");
    await tell("job", { ...pulling, status: "failed", error: "the disk is full" });
    expect(models.textContent).toContain("the disk is full");
    expect(control(models, "Fetch again")).toBeDefined();
  });

  it("shows the terms that a model comes under, and fetches it once they are accepted", async () => {
    const terms = { name: "Terms of Toys", url: "https://toys.example/terms", meaning: "toys are for play" };
    const bound = { ref: "bound", title: "Bound", kind: "package", ready: false, licence: terms.name, terms, bytes: 1 };
    const { root } = await open({ ...empty, "GET /api/models": [bound], "POST /api/jobs": job });
    const models = card(root, "Models");
    control(models, "Fetch").click();
    await settle();
    expect(asked.some(({ call }) => call === "POST /api/jobs")).toBe(false);
    expect(models.textContent).toContain(terms.meaning);
    expect(models.querySelector(`a[href="${terms.url}"]`)?.textContent).toBe(terms.name);
    control(models, "Cancel").click();
    await settle();
    control(models, "Fetch").click();
    await settle();
    control(models, "I accept them: fetch").click();
    await settle();
    const body = { kind: "pull", model: "bound", acceptLicence: true };
    expect(asked.at(-1)).toEqual({ call: "POST /api/jobs", body });
  });

  it("opens a model by its path, fetches one of the hub, and says why one cannot be opened", async () => {
    const { root } = await open({
      ...full,
      "GET /api/models/models%2Fmine": { ref: "models/mine" },
      "POST /api/jobs": job,
    });
    const models = card(root, "Models");
    const field = models.querySelector<HTMLInputElement>("form input")!;
    const give = async (text: string, button: string): Promise<void> => {
      field.value = text;
      field.dispatchEvent(new Event("input", { bubbles: true }));
      await settle();
      control(models.querySelector("form")!, button).click();
      await settle();
    };
    await give("models/none", "Open");
    expect(models.querySelector("[role=alert]")?.textContent).toContain("no GET /api/models/models%2Fnone");
    await give("models/mine", "Open");
    expect(new URLSearchParams(location.search).get("model")).toBe("models/mine");
    await give("hf:org/name", "Fetch");
    expect(asked.at(-1)).toEqual({ call: "POST /api/jobs", body: { kind: "pull", model: "hf:org/name" } });
  });

  it("shows what the server refused", async () => {
    const { "GET /api/runs": _, ...rest } = empty;
    const { root } = await open(rest);
    expect(card(root, "Runs").querySelector("[role=alert]")?.textContent).toContain("no GET /api/runs");
    control(card(root, "Models"), "Fetch").click();
    await settle();
    expect(card(root, "Models").querySelector("[role=alert]")?.textContent).toContain("no POST /api/jobs");
  });
});

describe("Home of a folder with results", () => {
  it("names the model's highest heads and takes them to the next pages", async () => {
    const { root } = await open(full);
    const path = card(root, "Find the heads");
    const chips = [...path.querySelectorAll("button")].map((each) => each.textContent.trim().replace(/\s+/g, " "));
    expect(chips).toEqual(["1.0 0.900", "1.3 0.800"]);
    expect(control(path, "Attention of 1.0").getAttribute("href")).toBe("/attention?head=1.0");
    expect(control(path, "Ablate the top 2").getAttribute("href")).toBe("/ablation?heads=1.0%2C1.3");
  });

  it("works with a run, and forgets the heads of the model before", async () => {
    const { root, view, selection } = await open(full);
    selection.value = ["1.0"];
    control(card(root, "Runs"), "Heads").click();
    expect(view.page).toBe("heads");
    expect(location.search).toBe("?model=run%3Ainduction-1");
    view.undo();
    expect(selection.value).toEqual(["1.0"]);
  });

  it("resumes a run that was interrupted, and follows it live", async () => {
    const { root } = await open({ ...full, "POST /api/runs/induction-1/resume": { job, runs: [run] } });
    control(card(root, "Runs"), "Resume").click();
    await settle();
    expect(asked.map(({ call }) => call)).toContain("POST /api/runs/induction-1/resume");
    await tell("run", { ...run, status: "running", step: 640 });
    await tell("job", { ...job, status: "running", progress: { done: 640, total: 1000, label: "training" } });
    expect(card(root, "Runs").textContent).toContain("640 of 1000");
    expect(card(root, "Jobs").querySelector("progress")?.getAttribute("value")).toBe("0.64");
    expect([...card(root, "Runs").querySelectorAll("button")].some((each) => each.textContent.includes("Resume"))).toBe(
      false,
    );
  });

  it("links a job to its result", async () => {
    const done = {
      id: 8,
      kind: "experiment",
      title: "experiment x, quick",
      status: "done",
      result: { experiment: "x", preset: "quick", report: "x-quick-0123abcd-20260102T000000000Z" },
      created: "2026-01-02T00:00:00Z",
    };
    const { root } = await open({ ...full, "GET /api/jobs": [job, done] });
    const jobs = card(root, "Jobs");
    // Its own report, not the newest one.
    expect(control(jobs, "Report").getAttribute("href")).toBe(
      "/experiments?experiment=x&report=x-quick-0123abcd-20260102T000000000Z",
    );
    expect(control(jobs, "Curves").getAttribute("href")).toBe("/training?runs=induction-1");
  });
});

describe("the job of npm start", () => {
  const start = { status: "running", part: "training", run: run.id, scores: [] } as const;

  it("is shown as it goes on, and the grid as soon as there are scores", async () => {
    const { root } = await open({
      ...full,
      "GET /api/health": { ...(full["GET /api/health"] as object), start },
      "GET /api/scores": [],
      [`GET /api/runs/${run.id}`]: { ...run, checkpoints: [] },
      [`GET /api/runs/${run.id}/metrics`]: { "in-context.accuracy": [[0, 0.1], [10, 0.5]] }, // biome-ignore format: points
    });
    const at = () => card(root, "npm start is at work");
    expect(at().querySelector("li.now")!.textContent).toMatch(/toy transformer learns/);
    expect(at().querySelector("svg")!.getAttribute("aria-label")).toBe("in-context accuracy 0.50");
    expect(root.querySelector("[data-head]")).toBeNull();
    await tell("start", { ...start, part: "needle", model: "smol", scores: ["start/induction.json"] });
    expect(at().querySelectorAll("li.done")).toHaveLength(5);
    await tell("start", { ...start, status: "done", part: "files", model: "smol" });
    expect(card(root, "What npm start did").querySelectorAll("li.done")).toHaveLength(7);
  });

  it("leads from questions to pages, and a head of the small grid to its card", async () => {
    const { root, view } = await open(full);
    expect(control(root, "Bring a model").getAttribute("href")).toBe("#models");
    const cell = root.querySelector<HTMLElement>("[data-head]")!;
    cell.dispatchEvent(new PointerEvent("pointerdown", { bubbles: true, button: 0 }));
    window.dispatchEvent(new PointerEvent("pointerup"));
    expect(view.page).toBe("heads");
  });
});

describe("a question of Home", () => {
  const address = (root: HTMLElement, title: string): URL =>
    new URL(control(root, title).getAttribute("href")!, "http://localhost");
  const tokensOnly = full["GET /api/models/smol"] as object;
  const reading = { ...tokensOnly, tokenizer: { addsBos: false, chat: false } };

  it("opens the names' pair, head by head, in the model that is worked with where it reads text", async () => {
    const { root } = await open({ ...full, "GET /api/models/smol": reading });
    const { pathname, searchParams, hash } = address(root, "Who moves the name?");
    expect([pathname, searchParams.get("model"), searchParams.get("patch"), hash]).toEqual(["/patching", null, null, ""]);
    const [pair] = JSON.parse(searchParams.get("pairs")!) as PairInput[];
    expect(pair).toMatchObject({ clean: expect.stringContaining("John gave"), answer: " Mary", wrong: " John" });
  });

  it("goes to a model that reads text from one that takes token ids only, or to where one is fetched", async () => {
    const other = { ...smol, ref: "reader" };
    const models = [ofRun, smol, absent, other];
    const { root } = await open({ ...full, "GET /api/models": models, "GET /api/health": { start: { model: "smol" } } });
    expect(address(root, "Who moves the name?").searchParams.get("model")).toBe("reader");
    shown!.close();
    const bare = await open({ ...full, "GET /api/models": [ofRun, absent] });
    expect(address(bare.root, "Who moves the name?").hash).toBe("#models");
  });

  it("names the metric that answers it, measured or not", async () => {
    const { root } = await open(full);
    const { pathname, searchParams } = address(root, "Where are the sinks?");
    expect(pathname).toBe("/heads");
    expect([searchParams.get("metric"), searchParams.get("probe")]).toEqual(["probe:attention-sink#importance", "attention-sink"]);
    expect(address(root, "Which heads copy?").searchParams.get("metric")).toBe("probe:induction");
  });
}); // biome-ignore format: long lines

describe("the selection", () => {
  it("puts in what is missing, and takes out what is all there", async () => {
    const { toggle, selection } = await import("../../../frontend/src/state/selection.svelte.ts");
    selection.value = ["2.1"];
    toggle(["2.1", "0.3"]);
    expect(selection.value).toEqual(["0.3", "2.1"]);
    toggle(["2.1", "0.3"]);
    expect(selection.value).toEqual([]);
  });

  it("keeps named sets by the model's weights", async () => {
    await open(full);
    const [{ sets }, { workspace }] = await Promise.all([
      import("../../../frontend/src/state/selection.svelte.ts"),
      import("../../../frontend/src/state/workspace.svelte.ts"),
    ]);
    sets.save("mine", ["1.3", "1.0"]);
    sets.save("mine", ["1.3", "0.2"]);
    expect(sets.list).toEqual([{ name: "mine", heads: ["0.2", "1.3"] }]);
    expect(JSON.parse(localStorage.getItem("headscope.sets")!)).toEqual({ "sha256:1": sets.list });
    workspace.info.clear();
    expect(sets.list).toEqual([]);
  });
});
