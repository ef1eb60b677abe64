import { afterAll, beforeAll, expect, it, vi } from "vitest";
import type { JobSummary } from "../../../../backend/common/api/jobs.ts";
import type { RequestedKind } from "../../../../backend/jobs/kind.ts";
import { loadModel } from "../../../../backend/models/load.ts";
import { parameter } from "../../../../backend/models/weights/parameters.ts";
import { buildCli } from "../../../helpers/cli.ts";
import { loadAsFile, typescriptOf } from "../../../helpers/docs.ts";
import { bundleCode } from "../../../helpers/processes/script.ts";
import type { TestServer } from "../../../helpers/servers/api.ts";

const PAGE = "docs/add-a-job.md";
const LIST = "../../../../backend/jobs/kinds/index.ts";
const code = typescriptOf(PAGE);

let server: TestServer;
beforeAll(async () => {
  await buildCli();
  const { writeNorms } = await loadAsFile<{ writeNorms: RequestedKind }>(code);
  // The one line that the page tells to add.
  vi.doMock(LIST, async (original) => {
    const list = await original<typeof import("../../../../backend/jobs/kinds/index.ts")>();
    return { requestedKinds: [...list.requestedKinds, writeNorms], kinds: [...list.kinds, writeNorms] };
  });
  const handlers = await bundleCode(
    `${code}\nexport const handlers = { [writeNorms.name]: async () => ({ request: writeNorms }) };`,
  );
  const { openServer } = await import("../../../helpers/servers/api.ts");
  server = await openServer({ worker: { handlers } });
});
afterAll(async () => {
  await server?.close();
  vi.doUnmock(LIST);
});

async function ended(id: number): Promise<JobSummary> {
  for (;;) {
    const { json } = await server.get<JobSummary>(`/api/jobs/${id}`);
    if (json.status !== "queued" && json.status !== "running") return json;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

it(`the kind of job of ${PAGE} is asked for, queued, worked on and listed as it stands there`, async () => {
  const { status, json } = await server.post<JobSummary>("/api/jobs", { kind: "write-norms", model: "toy-induction" });
  expect(status).toBe(202);
  const title = "norms of what the heads of toy-induction write";
  expect(json).toMatchObject({ kind: "write-norms", title, model: "toy-induction" });
  const job = await ended(json.id);
  expect(job).toMatchObject({ status: "done", title, progress: { done: 2, total: 2, label: "layers" } });
  const { norms } = job.result as { norms: number[][] };
  const model = await loadModel("toy-induction");
  for (const [layer, heads] of norms.entries()) {
    const weights = parameter(model, `blocks.${layer}.attn.W_O`).arraySync() as number[][][];
    expect(heads).toHaveLength(weights.length);
    weights.forEach((head, h) => {
      expect(heads[h]).toBeCloseTo(Math.hypot(...head.flat()), 4);
    });
  }
  expect(Math.max(...norms.flat())).toBeGreaterThan(0);
  model.dispose();
});

it(`its request is checked by its fields and its model, and told of in the OpenAPI document`, async () => {
  const ask = (body: object) => server.post("/api/jobs", { kind: "write-norms", ...body });
  expect((await ask({})).status).toBe(422);
  expect((await ask({ model: "toy-induction", heads: [] })).status).toBe(422);
  expect((await ask({ model: "/etc" })).status).toBe(403);
  expect((await server.get("/api/openapi.json")).text).toContain('"const":"write-norms"');
});
