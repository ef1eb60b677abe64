import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { ModelEntry } from "../../../backend/common/api/models.ts";
import type { Problem } from "../../../backend/common/api/problem.ts";
import { maskFromHeads } from "../../../backend/common/heads/mask.ts";
import { pullHubModel } from "../../../backend/models/sources/hub/pull.ts";
import { removeModel } from "../../../backend/models/sources/pull.ts";
import { checkpointFile, runFolder } from "../../../backend/paths.ts";
import { buildCli } from "../../helpers/cli.ts";
import { fixture } from "../../helpers/fixtures.ts";
import { makeSandbox, photo, type Sandbox, SECRET } from "../../helpers/processes/sandbox.ts";
import { type Answered, openServer, type TestServer } from "../../helpers/servers/api.ts";

const TOY = "toy-induction";
const TINY = fixture("formats/llama-tiny");

let box: Sandbox;
let server: TestServer;
let before = "";
const data = (...names: string[]) => join(box.inside, "data", ...names);
const root = (...names: string[]) => join(box.inside, "root", ...names);

beforeAll(async () => {
  await buildCli();
  box = makeSandbox();
  vi.stubEnv("HF_HOME", join(box.inside, "hf"));
  vi.stubEnv("HF_ENDPOINT", "http://127.0.0.1:9");
  vi.stubEnv("XDG_CACHE_HOME", join(box.inside, "cache"));
  for (const folder of ["masks", "scores", "histories", "exports/x", "runs/linked-1", "start"])
    mkdirSync(data(folder), { recursive: true });
  mkdirSync(root());
  // Ways out, as an unpacked archive or another user might have left them.
  const [folder, file] = [join(box.outside, "folder"), join(box.outside, "secret.json")];
  for (const way of ["scores/way", "histories/way", "exports/way", "exports/x/way", "masks/way", "runs/way-1"])
    symlinkSync(folder, data(way));
  for (const link of ["masks/link.json", "scores/link.json", "histories/link.json", "exports/x/link.json"])
    symlinkSync(file, data(link));
  symlinkSync(join(box.outside, "precious.gguf"), data("runs/linked-1/step-000000001.safetensors"));
  symlinkSync(box.outside, root("way"));
  symlinkSync(join(box.outside, "precious.gguf"), root("link.gguf"));
  execFileSync("mkfifo", [root("pipe.gguf")]);
  server = await openServer({ folder: data(), roots: [root()] });
  before = box.outsideNow();
});
afterAll(async () => {
  expect(box.outsideNow()).toBe(before);
  await server.close();
  vi.unstubAllEnvs();
  box.remove();
});

const PAIR = { clean: [1], corrupt: [2], answer: 1, wrong: 2 };

/** The places of the API that take the reference of a model. */
const OPENING: [what: string, open: (model: string) => Promise<Answered<Problem>>][] = [
  ["/models/:ref", (model) => server.get(`/api/models/${encodeURIComponent(model)}`)],
  ["/prompts", (model) => server.post("/api/prompts", { model, tokens: [1, 2] })],
  ["/generate", (model) => server.post("/api/generate", { model, tokens: [1], maxTokens: 1 })],
  ["/generate-batch", (model) => server.post("/api/generate-batch", { model, prompts: [{ tokens: [1] }] })],
  ["/ablate", (model) => server.post("/api/ablate", { model, rows: [[1, 2]], heads: ["0.0"] })],
  ["/pairs", (model) => server.post("/api/pairs", { model, pair: PAIR })],
  ["/patch", (model) => server.post("/api/patch", { model, pairs: [PAIR] })],
  ["/patch-places", (model) => server.post("/api/patch-places", { model, pairs: [PAIR], places: ["0.0"] })],
  ["/ablate-each", (model) => server.post("/api/ablate-each", { model, pairs: [PAIR], each: "head" })],
  ["/attribute", (model) => server.post("/api/attribute", { model, prompts: [PAIR] })],
  ["/lens", (model) => server.post("/api/lens", { model, prompts: [PAIR] })],
  ["/jobs", (model) => server.post("/api/jobs", { kind: "probe", model, probes: [{ name: "induction" }] })],
  ["/jobs, needles", (model) => server.post("/api/jobs", { kind: "needle", model, lengths: [64], depths: [0] })],
  ["/masks", (model) => server.post("/api/masks", { model, ablate: ["0.0"] })],
  ["/imports", (model) => server.post("/api/imports", { format: "retrieval-head", model, files: { "x.json": "{}" } })],
];

describe("a bare name is no path, whatever lies in the server's folder", () => {
  test.each(OPENING)("%s", async (what, open) => {
    // Each of them is there: vitest and the worker run in the root of the repository.
    const names = ["backend", "package.json", "node_modules", "LICENSE"];
    if (!what.endsWith(":ref")) names.push(".", ".."); // of an address they are no part
    for (const name of names) {
      const { status, json } = await open(name);
      expect([name, status, json.kind]).toEqual([name, 404, "usage"]);
    }
  });

  test("nor one to fetch or to remove", async () => {
    for (const model of [".", "backend", join(box.outside, "precious.gguf"), root("link.gguf")]) {
      expect((await server.post("/api/jobs", { kind: "pull", model })).status).toBe(404);
      expect((await server.remove(`/api/models/${encodeURIComponent(model)}`)).status).toBe(404);
    }
  });
});

describe("a path of a model leads into the data folder or a root", () => {
  test.each(OPENING)("%s", async (_, open) => {
    const REFUSED: [path: string, status: number][] = [
      [join(box.outside, "precious.gguf"), 403],
      ["../outside/precious.gguf", 403],
      ["./../../etc/passwd", 403],
      [root("way/precious.gguf"), 403],
      [root("way"), 403],
      [root("link.gguf"), 403],
      [root("way/../../../etc"), 403],
      [root("pipe.gguf"), 404],
      [root("nothing.gguf"), 404],
      ["/dev/zero", 403],
    ];
    for (const [path, status] of REFUSED) {
      const answer = await open(path);
      expect([path, answer.status]).toEqual([path, status]);
      expect(answer.text).not.toContain(SECRET);
    }
  });

  test("a folder there opens; with a link out of it in place of a file it does not", async () => {
    cpSync(TINY, root("tiny"), { recursive: true });
    const open = OPENING[1]![1];
    expect((await open(root("tiny"))).status).toBe(200);
    for (const [name, target] of [
      ["tokenizer.json", "secret.json"],
      ["chat_template.jinja", "secret.txt"],
    ] as const) {
      cpSync(TINY, root(name), { recursive: true });
      rmSync(root(name, name), { force: true });
      symlinkSync(join(box.outside, target), root(name, name));
      const { status, json, text } = await open(root(name));
      expect([status, json.kind]).toEqual([422, "input"]);
      expect(text).not.toContain(SECRET.slice(0, 8));
    }
  });

  test("a run's checkpoint that is a link out of the data folder is not opened", async () => {
    expect((await server.get<Problem>("/api/models/run:linked-1")).json).toMatchObject({ status: 422, kind: "input" });
  });

  test("the list of models names none of it", async () => {
    const { json } = await server.get<ModelEntry[]>("/api/models");
    expect(json.map(({ kind }) => kind)).not.toContain("hub");
  });
});

const up = "../".repeat(8);
/** Names that have been ways out of somebody's folder. */
const HOSTILE: readonly string[] = [
  ...[
    "",
    " ",
    ".",
    "..",
    "...",
    "/",
    "//",
    "\\",
    "~",
    "~root",
    "$HOME",
    "%HOME%",
    "-rf",
    "--out",
    "*",
    "?",
    "|id",
    ";id",
  ],
  ...[
    "../x",
    "../../x",
    "a/../../x",
    "./../x",
    ".../x",
    "..;/x",
    "..\\x",
    "..\\..\\x",
    "a\\..\\..\\x",
    "\\\\host\\share",
  ],
  ...["/etc/passwd", "//etc/passwd", "/dev/zero", "/proc/self/environ", "file:///etc/passwd", "http://127.0.0.1/x"],
  ...[
    "C:\\x",
    "C:x",
    "CON",
    "nul.json",
    "x:stream",
    "x.json.",
    "x.json ",
    "x\0.json",
    "x\n.json",
    "x\r\ny: z",
    "\u001b[2J",
  ],
  ...[
    "%2e%2e%2fx",
    "..%2fx",
    "%00",
    "%c0%ae%c0%ae/x",
    "\u202egnp.exe",
    "\ufeffx",
    "\u2028",
    "\u0301",
    "．．/x",
    "∕etc∕passwd",
  ],
  ...["constructor", "__proto__", "toString", "x".repeat(300), `${"x/".repeat(200)}y`, "\u{1f600}".repeat(70)],
  ...["way", "way/secret.txt", "way/config.json", "link.json", "x/way/config.json", "x/link.json", "way-1", "linked-1"],
  ...[`${up}outside/secret.json`, `${up}outside/folder/config.json`, "run:way-1", "run:../outside", "hf:../../outside"],
  ...[
    "hf:a/b@../../../outside",
    "hf:a/b/../../../outside/precious.gguf",
    "run:linked-1@1",
    "hf:way/way",
    "masks/link.json",
  ],
];

describe("names that lead elsewhere", () => {
  const path = encodeURIComponent;
  const prefixes = ["", "masks/", "scores/", "histories/"];
  const mask = maskFromHeads(
    { ref: TOY, family: "toy", digest: `sha256:${"0".repeat(64)}`, layers: 2, heads: 4, kvHeads: 4 },
    [{ layer: 0, head: 0 }],
  );
  const imports = { format: "retrieval-head", model: TOY };
  /** Everything of the API that takes a name. */
  const PLACES: [what: string, ask: (name: string) => Promise<Answered>][] = [
    ...prefixes.flatMap((prefix): [string, (name: string) => Promise<Answered>][] =>
      ["masks", "scores", "histories"].map((kind) => [
        `GET /${kind}/${prefix}`,
        (name) => server.get(`/api/${kind}/${path(prefix + name)}`),
      ]),
    ),
    ...["masks", "scores"].map((kind): [string, (name: string) => Promise<Answered>] => [
      `DELETE /${kind}`,
      (name) => server.remove(`/api/${kind}/${path(`${kind}/${name}`)}`),
    ]),
    ["DELETE /models", (name) => server.remove(`/api/models/${path(name)}`)],
    ["GET /models", (name) => server.get(`/api/models/${path(name)}`)],
    ["GET /histories?run", (name) => server.get(`/api/histories?run=${path(name)}`)],
    ["GET /exports, id", (name) => server.get(`/api/exports/${path(name)}/files/config.json`)],
    ["GET /exports, name", (name) => server.get(`/api/exports/x/files/${path(name)}`)],
    ["GET /runs", (name) => server.get(`/api/runs/${path(name)}`)],
    ["GET /runs, metrics", (name) => server.get(`/api/runs/${path(name)}/metrics`)],
    ["DELETE /runs", (name) => server.remove(`/api/runs/${path(name)}`)],
    ["POST /runs, resume", (name) => server.post(`/api/runs/${path(name)}/resume`, {})],
    ["POST /runs, task", (name) => server.post("/api/runs", { task: name })],
    ["GET /experiments", (name) => server.get(`/api/experiments/${path(name)}/report`)],
    ["GET /prompts", (name) => server.get(`/api/prompts/${path(name)}/patterns/0`)],
    ["POST /masks, name", (name) => server.post("/api/masks", { name, mask })],
    ["POST /masks, scores", (name) => server.post("/api/masks", { scores: name, top: 1 })],
    ["POST /exports, mask", (name) => server.post("/api/exports", { format: "csv", mask: name })],
    ["POST /exports, scores", (name) => server.post("/api/exports", { format: "csv", scores: `scores/${name}` })],
    ["POST /exports, format", (name) => server.post("/api/exports", { format: name, mask })],
    ["POST /exports, model", (name) => server.post("/api/exports", { format: "pruned-checkpoint", mask, model: name })],
    ["POST /imports, path", (name) => server.post("/api/imports", { ...imports, path: name })],
    ["POST /imports, path below", (name) => server.post("/api/imports", { ...imports, path: root(name) })],
    ["POST /imports, files", (name) => server.post("/api/imports", { ...imports, files: { [name]: "{}" } })],
    ["POST /jobs, history", (name) => server.post("/api/jobs", { kind: "history", run: name, probe: "induction" })],
    ["POST /jobs, pull", (name) => server.post("/api/jobs", { kind: "pull", model: name })],
    ["POST /prompts", (name) => server.post("/api/prompts", { model: name, tokens: [1] })],
  ];

  test.each(PLACES)("change nothing outside and tell nothing of it: %s", async (_, ask) => {
    const own = data();
    for (const name of HOSTILE) {
      const { status, text } = await ask(name);
      expect([name, status >= 500]).toEqual([name, false]);
      for (let part = 0; part + 10 <= SECRET.length; part++)
        expect([name, text.includes(SECRET.slice(part, part + 10))]).toEqual([name, false]);
    }
    expect(box.outsideNow()).toBe(before);
    // What was kept, such as a mask of an odd but harmless name, lies where its kind does.
    const strange = photo(own)
      .map((line) => line.slice(own.length + 1).split(/ /)[0]!)
      .filter(
        (name) =>
          !/^(masks|scores|histories|exports|runs|start|imports|headscope\.db[-\w]*|server\.\w+|token|opened\.json)(\/|$)/.test(
            name,
          ),
      );
    expect(strange).toEqual([]);
    expect(readdirSync(root()).sort()).toEqual(expect.arrayContaining(["link.gguf", "pipe.gguf", "way"]));
  });

  test("change nothing outside by way of the library", async () => {
    writeFileSync(join(box.inside, "witness"), "");
    for (const name of HOSTILE) {
      for (const make of [() => runFolder(name, data()), () => checkpointFile(name, 1, data())]) {
        try {
          expect(make().startsWith(data("runs/"))).toBe(true);
        } catch (error) {
          expect(error).toMatchObject({ name: "HeadscopeError", kind: "usage" });
        }
      }
      for (const ref of [name, `hf:${name}`, `hf:a/b@${name}`, `hf:a/b/${name}.gguf`]) {
        await removeModel(ref).catch((error) => expect(error).toMatchObject({ name: "HeadscopeError" }));
        if (ref.startsWith("hf:"))
          await pullHubModel(ref, { retryMs: 0 }).catch((error) =>
            expect(error).toMatchObject({ name: "HeadscopeError" }),
          );
      }
    }
    expect(box.outsideNow()).toBe(before);
  });
});
