import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { FolderListing, ModelEntry } from "../../../backend/common/api/models.ts";
import { Opened } from "../../../backend/server/library/opened.ts";
import { Roots } from "../../../backend/server/library/roots.ts";
import { openServer, type TestServer } from "../../helpers/servers/api.ts";

const root = realpathSync(mkdtempSync(join(tmpdir(), "headscope-root-")));
const outside = realpathSync(mkdtempSync(join(tmpdir(), "headscope-outside-")));
let server: TestServer;

const names = (list: FolderListing["folders"]): string[] => list.map(({ name }) => name);
const folders = (path: string) => server.get<FolderListing>(`/api/folders?path=${encodeURIComponent(path)}`);

beforeAll(async () => {
  for (const folder of ["llama", "papers", ".hidden"]) mkdirSync(join(root, folder));
  for (const name of ["config.json", "model.safetensors"]) writeFileSync(join(root, "llama", name), "{}");
  for (const name of ["tiny.gguf", "notes.txt"]) writeFileSync(join(root, name), "x");
  writeFileSync(join(outside, "secret.gguf"), "x");
  symlinkSync(outside, join(root, "way-out"));
  symlinkSync(join(root, "papers"), join(root, "alias"));
  server = await openServer({ roots: [root] });
});
afterAll(async () => {
  await server.close();
  for (const folder of [root, outside]) rmSync(folder, { recursive: true });
});

describe("folders", () => {
  test("that may be named are listed, and in them folders and models, not what is hidden, foreign or something else", async () => {
    const top = await server.get<FolderListing>("/api/folders");
    expect(top.json.folders.map(({ path }) => path)).toEqual([server.folder, root]);
    const { status, json } = await folders(root);
    expect(status).toBe(200);
    expect(names(json.folders)).toEqual(["alias", "papers"]);
    expect(names(json.models)).toEqual(["llama", "tiny.gguf"]);
    expect(json.parent).toBeUndefined();
    expect((await folders(join(root, "papers"))).json.parent).toBe(root);
  });

  test.each([
    ["elsewhere", () => outside, 403],
    ["by a link", () => join(root, "way-out"), 403],
    ["above", () => join(root, ".."), 403],
    ["of the system", () => "/", 403],
    ["that is not there", () => join(root, "nothing"), 404],
    ["that is a file", () => join(root, "notes.txt"), 404],
  ])("%s are refused", async (_, path, status) => {
    expect((await folders(path())).status).toBe(status);
  });
});

describe("a root", () => {
  test("that is added opens what lies in it, for this server alone", async () => {
    expect((await folders(outside)).status).toBe(403);
    const added = await server.post<FolderListing>("/api/roots", { path: outside });
    expect(added.status).toBe(201);
    expect(names((await folders(outside)).json.models)).toEqual(["secret.gguf"]);
    const other = await openServer();
    expect((await other.get(`/api/folders?path=${encodeURIComponent(outside)}`)).status).toBe(403);
    await other.close();
  });

  test.each([
    ["the whole file system", "/", 403],
    ["no folder", join(root, "notes.txt"), 404],
    ["relative", "models", 422],
  ])("that is %s is refused", async (_, path, status) => {
    expect((await server.post("/api/roots", { path })).status).toBe(status);
  });

  test("is added from the server's own pages only, by whoever may use it", async () => {
    const foreign = await server.post("/api/roots", { path: root }, { origin: "http://example.com" });
    expect(foreign.status).toBe(403);
    const stranger = await server.post("/api/roots", { path: root }, { authorization: "Bearer nobody" });
    expect([401, 403]).toContain(stranger.status);
  });

  test("is never added where other machines reach the server", async () => {
    await expect(new Roots([root], false).add(outside)).rejects.toMatchObject({ problem: { status: 403 } });
  });
});

describe("models that were opened by their path", () => {
  test("stay in the list while they are there and may be read", async () => {
    const opened = new Opened(server.folder);
    await opened.add(join(root, "llama"));
    await opened.add(join(tmpdir(), "headscope-elsewhere", "model"));
    const again = await openServer({ folder: server.folder, roots: [root] });
    const list = async () =>
      (await again.get<ModelEntry[]>("/api/models")).json.filter(({ kind }) => kind === "opened").map(({ ref }) => ref);
    expect(await list()).toEqual([join(root, "llama")]);
    rmSync(join(root, "llama"), { recursive: true });
    expect(await list()).toEqual([]);
    expect(await new Opened(server.folder).list()).not.toContain(join(root, "llama"));
    await again.server.close();
  });
});
