import { mount, unmount } from "svelte";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import type { PatchRequest } from "../../../backend/common/api/patching.ts";
import { encodeSafetensors } from "../../../backend/models/formats/safetensors/safetensors.ts";
import Patching from "../../../frontend/src/patching/Page.svelte";
import {
  by,
  direction,
  into,
  kind,
  kvGroup,
  mlps,
  node,
  pairMetric,
  patchMethod,
  senders,
  through,
} from "../../../frontend/src/patching/params.ts";
import { patching } from "../../../frontend/src/patching/patching.svelte.ts";
import { view } from "../../../frontend/src/state/url.svelte.ts";
import { workspace } from "../../../frontend/src/state/workspace.svelte.ts";
import { patiently } from "../../helpers/runner/patience.ts";

const shape = { layers: 2, heads: 4, kvHeads: 2 };
const info = { ref: "toy", family: "llama", digest: "sha256:1", ...shape, stops: [] };
const config = { d_vocab: 64, n_ctx: 64, attn_only: false };
const candidate = { id: 7, text: "7", probability: 0.9 };
const side = { ids: [0, 1, 2], tokens: ["0", "1", "2"] };
const asked: PatchRequest[] = [];

const ANSWERS: Record<string, unknown> = {
  "/api/health": { version: "0", folder: "/" },
  "/api/models": [{ ref: "toy", title: "Toy", kind: "opened", ready: true }],
  "/api/models/toy": { ...info, config },
  "/api/pairs": { clean: side, corrupt: side, differ: [1], answer: candidate, wrong: candidate },
  "/api/prompts": { id: "p", ...side, next: [candidate] },
  "/api/lens": { rows: [], ms: 1 },
  "/api/circuit-roles": {
    heads: [
      {
        head: "1.2",
        roles: [{ role: "name mover", evidence: [{ measure: "attention", value: 0.75, threshold: 0.3 }] }],
      },
    ],
  },
  "/api/attribute": {
    ...{ logitDiff: 2, sum: 2, accumulated: [], ms: 1 },
    parts: {
      ...{ embed: 0, posEmbed: 0, mlps: [0, 0], attnBias: [0, 0], finalNormBias: 0, unembedBias: 0, softCap: 0 },
      heads: [
        [0, 1, 0, 0],
        [0, 0, 1, 0],
      ],
    },
  },
};

/** As the server: path patching answers with how its MLPs were held, and its receivers. */
function patched({ mlps, into, from }: PatchRequest): Response {
  const others = from ? { patchedMlps: [0.5], patchedEmbed: 2 } : {};
  const result = { clean: 2, corrupt: -1, patched: [[0, 1, 0.5, 0]], ms: 1, mlps, receivers: into, ...others };
  return new Response(`event: done\ndata: ${JSON.stringify(result)}\n\n`);
}

/** The last rows of the patterns of some heads, which look at the first token alone. */
function lastRows(query: URLSearchParams): Response {
  expect(query.get("queries")).toBe("2:3");
  const heads = query.get("heads")!.split(",");
  const data = Float32Array.from(heads.flatMap(() => [1, 0, 0]));
  const file = encodeSafetensors({ pattern: { dtype: "F32", shape: [heads.length, 1, 3], data } });
  return new Response(Buffer.concat([...file]));
}

let page: HTMLElement;
let shown: Record<string, unknown>;
beforeAll(async () => {
  vi.stubGlobal("fetch", async (path: string, { body }: RequestInit = {}) => {
    if (path.startsWith("/api/prompts/p/patterns/")) return lastRows(new URL(path, "http://x").searchParams);
    if (path !== "/api/patch") return Response.json(ANSWERS[path] ?? []);
    asked.push(JSON.parse(String(body)) as PatchRequest);
    return patched(asked.at(-1)!);
  });
  workspace.open();
  await vi.waitFor(() => {
    workspace.follow();
    expect(workspace.info.value).toBeDefined();
  }, patiently(5_000));
  // Long ago, so that the first change of a test is a step of undo by itself: those close together are one.
  const clock = vi.spyOn(Date, "now").mockReturnValue(0);
  view.change({ ...kind.to("path"), ...into.to(["1.0"]), ...through.to("v") }, "patching");
  clock.mockRestore();
  page = document.createElement("div");
  document.body.append(page);
  shown = mount(Patching, { target: page });
});
afterAll(async () => {
  await unmount(shown);
  page.remove();
});

const radio = (label: string): HTMLInputElement | undefined =>
  [...page.querySelectorAll<HTMLLabelElement>("label")].find((each) => each.textContent.trim() === label)
    ?.querySelector("input") ?? undefined; // biome-ignore format: one chain
const titled = (words: string): Promise<void> =>
  vi.waitFor(
    () => expect([...page.querySelectorAll("h2")].some((h) => h.textContent.includes(words))).toBe(true),
    patiently(5_000),
  );

describe("path patching on its page", () => {
  it("begins with the direct edge, and says so in request, title and command", async () => {
    await titled("Restored by paths into 1.0 through v (direct edge)");
    expect(asked.at(-1)).toMatchObject({ into: ["1.0"], through: "v", mlps: "frozen" });
    expect(patching.command).toContain("--through v --mlps frozen");
  });

  it("computes the MLPs between again where that is chosen, and keeps it in the address", async () => {
    radio("MLPs computed again")!.click();
    await titled("Restored by paths into 1.0 through v (MLPs computed again)");
    expect(asked.at(-1)).toMatchObject({ mlps: "recomputed" });
    expect(patching.command).toContain("--mlps recomputed");
    expect(new URLSearchParams(location.search).get("mlps")).toBe("recomputed");
    expect(patching.result.value?.path).toEqual({ into: ["1.0"], through: "v", mlps: "recomputed" });
    view.undo();
    expect(mlps.value).toBe("frozen");
  });

  it("has whole KV heads receive where that is chosen, but not through queries", async () => {
    const box = [...page.querySelectorAll("label")].find((each) => each.textContent.includes("whole KV heads"))!;
    box.querySelector("input")!.click();
    await vi.waitFor(() => expect(asked.at(-1)).toMatchObject({ kvGroup: true }), patiently(5_000));
    expect(patching.command).toContain("--kv-group");
    through.value = "q";
    await vi.waitFor(() => expect(asked.at(-1)).toMatchObject({ through: "q" }), patiently(5_000));
    expect(asked.at(-1)).not.toHaveProperty("kvGroup");
    expect(patching.command).not.toContain("--kv-group");
    kvGroup.value = false;
  });

  it("starts from MLPs and the embedding too where that is chosen, and lists them by what they move", async () => {
    radio("and MLPs")!.click();
    await vi.waitFor(() => expect(asked.at(-1)).toMatchObject({ from: ["heads", "mlps", "embed"] }), patiently(5_000));
    expect(patching.command).toContain("--from heads,mlps,embed");
    await vi.waitFor(() => {
      const words = page.querySelector('[data-figure="others"]')!.textContent.replace(/\s+/g, " ");
      expect(words).toContain("embed 100%");
      expect(words.indexOf("embed")).toBeLessThan(words.indexOf("m0"));
    }, patiently(5_000));
    senders.value = "heads";
  });

  it("ends in MLPs and logits without an input to name", async () => {
    into.value = ["m1", "logits"];
    await titled("Restored by paths into m1, logits (direct edge)");
    expect(asked.at(-1)).not.toHaveProperty("through");
    expect(patching.command).toContain("--into m1,logits");
    expect(patching.command).not.toContain("--through");
  });

  it("says nothing of MLPs to a model that has none", async () => {
    ANSWERS["/api/models/toy"] = { ...info, config: { ...config, attn_only: true } };
    view.change({ ...kind.to("path"), ...into.to(["1.0"]), ...through.to("v") }, "patching");
    workspace.refresh();
    await vi.waitFor(() => {
      workspace.follow();
      expect(radio("keys")).toBeDefined();
      expect(radio("MLPs computed again")).toBeUndefined();
    }, patiently(5_000));
  });
});

describe("patching of activations on its page", () => {
  it("turns the direction, measures by another metric and estimates, in request, command, title and address", async () => {
    view.change({ ...kind.to("node"), ...node.to("z") });
    await titled("Restored by z, by head");
    expect(asked.at(-1)).not.toHaveProperty("direction");
    expect(patching.command).not.toMatch(/--(direction|metric|method)/);
    radio("noise")!.click();
    await titled("Lost by z, by head");
    expect(asked.at(-1)).toMatchObject({ direction: "noise" });
    radio("estimated")!.click();
    await titled("Lost by z, by head, estimated");
    pairMetric.value = "kl";
    await vi.waitFor(() => expect(asked.at(-1)).toMatchObject({ metric: "kl" }), patiently(5_000));
    expect(asked.at(-1)).toMatchObject({ direction: "noise", method: "attribution", node: "z", by: "head" });
    expect(patching.command).toMatch(/--method attribution/);
    expect(patching.command).toMatch(/--direction noise/);
    expect(patching.command).toMatch(/--metric kl/);
    const address = new URLSearchParams(location.search);
    expect([address.get("direction"), address.get("pair-metric"), address.get("patch-method")]).toEqual([
      "noise",
      "kl",
      "attribution",
    ]);
    view.change({ ...direction.to("denoise"), ...pairMetric.to("logit-diff"), ...patchMethod.to("exact") });
  });

  it("lists the heads with the largest direct effect where no table of heads is patched", async () => {
    by.value = "layer";
    await vi.waitFor(() => {
      const rows = [...page.querySelectorAll<HTMLElement>("[data-looks]")].map((row) => row.dataset["looks"]);
      expect(rows.slice(0, 2)).toEqual(["0.1", "1.2"]);
      const role = page.querySelector('[data-looks="1.2"] .roles')!;
      expect(role.textContent).toContain("name mover");
      expect(role.textContent).toContain("0.750");
      expect(page.querySelector('[data-looks="0.1"] .roles')!.textContent.trim()).toBe("");
    }, patiently(5_000));
  });
});
