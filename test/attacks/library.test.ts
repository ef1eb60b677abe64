import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readText } from "../../backend/json.ts";
import { openStore } from "../../backend/store/store.ts";
import { experiments } from "../../experiments/index.ts";
import { buildCli } from "../helpers/cli.ts";
import { makeSandbox, type Sandbox } from "../helpers/processes/sandbox.ts";
import { patiently } from "../helpers/runner/patience.ts";
import { openServer, type TestServer } from "../helpers/servers/api.ts";
import { startServing } from "../helpers/servers/serving.ts";

const SCORES = {
  format: "headscope.head-scores/1",
  model: { ref: "toy-induction", layers: 2, heads: 1, kvHeads: 1 },
  probe: "mine",
  metrics: { mine: { axis: "heads", values: [[0], [1]] } },
};
const MASK = {
  format: "headscope.head-mask/1",
  model: { ref: "toy-induction", layers: 2, heads: 1, kvHeads: 1 },
  kvHeads: [["retrieval"], ["streaming"]],
};
const [experiment] = experiments.names();
const folder = mkdtempSync(join(tmpdir(), "headscope-special-"));

/** Where a file that is none may stand, and the address that would read it. */
const PLACES: readonly (readonly [file: string, address: string])[] = [
  ["scores/toy/pipe.json", "/api/scores/scores/toy/pipe.json"],
  ["masks/pipe.json", "/api/masks/masks/pipe.json"],
  ["start/state.json", "/api/health"],
  ["start/pipe.json", "/api/scores/start/pipe.json"],
  ["histories/induction-1/mine-0a.json", "/api/histories/histories/induction-1/mine-0a.json"],
  ["exports/csv-1/heads.csv", "/api/exports/csv-1/files/heads.csv"],
  [`experiments/${experiment}-quick/report.json`, `/api/experiments/${experiment}/report`],
  [`experiments/${experiment}-quick/report.json`, "/api/experiments"],
  [`experiments/${experiment}-quick/report.json`, `/api/experiments/${experiment}/figure`],
  ["sweeps/induction-0a.json", "/api/sweeps/induction-0a"],
  ["sweeps/induction-0a.json", "/api/sweeps"],
];

function place(file: string): string {
  const path = join(folder, file);
  mkdirSync(dirname(path), { recursive: true });
  return path;
}

beforeAll(async () => {
  await buildCli();
  for (const file of new Set(PLACES.map(([each]) => each))) execFileSync("mkfifo", [place(file)]);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("the files of the data folder", () => {
  let server: TestServer;
  let socket: Server;
  beforeAll(async () => {
    socket = createServer().listen(place("masks/socket.json"));
    mkdirSync(place("masks/folder.json"));
    writeFileSync(place("constructor/x.json"), JSON.stringify(SCORES));
    symlinkSync("/dev/zero", place("scores/toy/zero.json"));
    server = await openServer({ folder });
  });
  afterAll(async () => {
    socket.close();
    await server.close();
  });

  test("are not opened where they are pipes, however often they are asked for", async () => {
    for (let round = 0; round < 3; round++) {
      const asked = PLACES.map(([, address]) =>
        server.send(address, { signal: AbortSignal.timeout(patiently(5_000)) }),
      );
      const found = (await Promise.all(asked)).map(({ status }) => status);
      expect(
        found.every((status) => status < 500),
        String(found),
      ).toBe(true);
      expect(found.slice(0, 2)).toEqual([404, 404]);
    }
    expect((await server.post("/api/scores", SCORES)).status).toBe(201);
    expect((await server.get<object[]>("/api/scores")).json).toHaveLength(1);
  });

  test("are not found where they are folders, sockets, or links to devices", async () => {
    for (const id of ["masks/folder.json", "masks/socket.json"]) {
      expect((await server.get(`/api/masks/${id}`)).status, id).toBe(404);
      expect((await server.remove(`/api/masks/${id}`)).status, id).toBe(404);
    }
    expect((await server.get("/api/scores/scores/toy/zero.json")).status).toBe(404);
  });

  test("are refused a name that a folder has", async () => {
    const body = { name: "folder", model: "toy-induction", ablate: ["0.0"] };
    const { status, text } = await server.post("/api/masks", body);
    expect(status, text).toBe(422);
  });

  test("are those of its own folders, whatever JavaScript has under a name", async () => {
    for (const id of ["constructor/x.json", "__proto__/x.json", "toString/x.json"])
      expect((await server.get(`/api/scores/${id}`)).status, id).toBe(404);
  });

  test("are removed once, by whoever is first", async () => {
    const made = await server.post("/api/masks", { name: "once", model: "toy-induction", ablate: ["0.0"] });
    expect(made.status).toBe(201);
    const removed = await Promise.all(Array.from({ length: 8 }, () => server.remove("/api/masks/masks/once.json")));
    expect(removed.map(({ status }) => status).sort()).toEqual([204, ...Array.from({ length: 7 }, () => 404)]);
  });
});

describe("folders of the data folder that are links out of it", () => {
  const secret = "the secret of another folder";
  let box: Sandbox;
  let server: TestServer;
  beforeAll(async () => {
    box = makeSandbox();
    const elsewhere = (file: string, content: object) => {
      mkdirSync(dirname(join(box.outside, file)), { recursive: true });
      writeFileSync(join(box.outside, file), JSON.stringify(content));
    };
    elsewhere("scores/x.json", { ...SCORES, probe: secret });
    elsewhere("masks/x.json", { ...MASK, source: secret });
    elsewhere("exports/csv-1/heads.csv", { secret });
    elsewhere("sweeps/induction-0a.json", { secret });
    for (const name of ["scores", "masks", "exports", "experiments", "sweeps"])
      symlinkSync(join(box.outside, name), join(box.inside, name));
    mkdirSync(join(box.outside, "experiments", `${experiment}-quick`), { recursive: true });
    writeFileSync(join(box.outside, "experiments", `${experiment}-quick`, "report.json"), secret);
    server = await openServer({ folder: box.inside });
  });
  afterAll(async () => {
    await server.close();
    box.remove();
  });

  test.each([
    "/api/scores",
    "/api/masks",
    "/api/scores/scores/x.json",
    "/api/masks/masks/x.json",
    "/api/exports/csv-1/files/heads.csv",
    `/api/experiments/${experiment}/report`,
    `/api/experiments/${experiment}/report.html`,
    `/api/experiments/${experiment}/figure`,
    "/api/sweeps",
    "/api/sweeps/induction-0a",
  ])("are not read: %s", async (address) => {
    const { status, text } = await server.get(address);
    expect(status).toBeLessThan(500);
    for (let part = 0; part + 10 <= secret.length; part++) expect(text).not.toContain(secret.slice(part, part + 10));
  });

  test("are not written to, nor is anything removed from them", async () => {
    const before = box.outsideNow();
    expect((await server.post("/api/scores", SCORES)).status).toBe(422);
    expect((await server.post("/api/masks", { name: "x", mask: MASK })).status).toBe(422);
    expect((await server.post("/api/exports", { format: "csv", scores: SCORES })).status).toBe(422);
    expect((await server.remove("/api/scores/scores/x.json")).status).toBe(404);
    expect((await server.remove("/api/masks/masks/x.json")).status).toBe(404);
    expect((await server.remove("/api/sweeps/induction-0a")).status).toBe(422);
    expect(box.outsideNow()).toBe(before);
  });
});

test("a server that was asked for pipes ends on SIGTERM", async () => {
  const serving = await startServing(folder);
  for (let round = 0; round < 2; round++)
    await Promise.all(
      PLACES.map(([, address]) =>
        fetch(serving.url + address, {
          headers: serving.credentials,
          signal: AbortSignal.timeout(patiently(5_000)),
        }).catch(() => {}),
      ),
    );
  const ended = new Promise<boolean>((resolve) => serving.process.once("exit", () => resolve(true)));
  serving.process.kill("SIGTERM");
  const late = new Promise<boolean>((resolve) => setTimeout(() => resolve(false), patiently(15_000)).unref());
  const inTime = await Promise.race([ended, late]);
  if (!inTime) serving.process.kill("SIGKILL");
  expect(inTime).toBe(true);
});

test("a database, and a file of the user's, that is a pipe is refused at once", async () => {
  const home = mkdtempSync(join(tmpdir(), "headscope-pipe-"));
  const pipe = join(home, "headscope.db");
  execFileSync("mkfifo", [pipe]);
  expect(() => openStore({ folder: home })).toThrow(expect.objectContaining({ kind: "input" }));
  await expect(readText(pipe, "scores file")).rejects.toMatchObject({ kind: "input" });
  await expect(readText("/dev/zero", "scores file")).rejects.toMatchObject({ kind: "input" });
  rmSync(home, { recursive: true });
});
