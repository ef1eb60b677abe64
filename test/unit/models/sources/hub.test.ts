import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { describeModel } from "../../../../backend/models/load.ts";
import { cachedModels, hubModelPath, removeHubModel } from "../../../../backend/models/sources/hub/cache.ts";
import { pullHubModel } from "../../../../backend/models/sources/hub/pull.ts";
import { formatHubRef, parseHubRef } from "../../../../backend/models/sources/hub/ref.ts";
import { hubCacheDir, hubSettings } from "../../../../backend/models/sources/hub/settings.ts";
import { listHubModels, removeModel } from "../../../../backend/models/sources/pull.ts";
import { refused } from "../../../helpers/errors.ts";
import { fixture } from "../../../helpers/fixtures.ts";
import { type Fault, type HubServer, startHub } from "../../../helpers/servers/hub-server.ts";

const FORMATS = fixture("formats");
const TINY = join(FORMATS, "llama-tiny");
const SHARDED = fixture("families/qwen2");
const gguf = readFileSync(join(FORMATS, "llama-tiny.gguf"));
const config = readFileSync(join(TINY, "config.json"));
const weights = readFileSync(join(TINY, "model.safetensors"));

let hub: HubServer;
let home = "";

beforeAll(async () => {
  hub = await startHub({
    "tiny/llama": {
      folder: TINY,
      tags: ["v1.0", "refs/pr/1"],
      files: {
        "pytorch_model.bin": "never",
        "README.md": "# read me",
        "modeling_tiny.py": "evil()",
        "onnx/model.onnx": "x",
      },
    },
    "tiny/sharded": { folder: SHARDED },
    "tiny/gguf": {
      files: { "a.Q4_0.gguf": gguf, "a.Q8_0.gguf": Buffer.concat([gguf, Buffer.of(0)]), "deep/b.gguf": gguf },
    },
    "tiny/one-gguf": { files: { "only.gguf": gguf, "README.md": "" } },
    "tiny/pieces": { files: { "big-00001-of-00002.gguf": gguf } },
    "tiny/pickle": { files: { "config.json": config, "pytorch_model.bin": "never" } },
    "tiny/no-config": { files: { "model.safetensors": weights } },
    "tiny/empty": { files: { "README.md": "" } },
    "tiny/lying-index": {
      files: {
        "config.json": config,
        "model.safetensors.index.json": JSON.stringify({ weight_map: { a: "../../../../evil.safetensors" } }),
      },
    },
    "tiny/lost-shard": {
      files: {
        "config.json": config,
        "model.safetensors.index.json": JSON.stringify({ weight_map: { a: "gone.safetensors" } }),
      },
    },
    "closed/private": { folder: TINY, token: "secret-token" },
    "closed/gated": { folder: TINY, gated: true },
  });
});
afterAll(() => hub.close());

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "headscope-hub-"));
  for (const name of [
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "HF_TOKEN",
    "HF_TOKEN_PATH",
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
  ])
    vi.stubEnv(name, "");
  vi.stubEnv("HF_HOME", home);
  vi.stubEnv("HF_ENDPOINT", hub.endpoint);
  hub.requests.length = 0;
  hub.faults.length = 0;
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(home, { recursive: true, force: true });
});

const repo = (...names: string[]) => join(home, "hub", "models--tiny--llama", ...names);
const list = (folder: string) => (existsSync(folder) ? readdirSync(folder).sort() : []);
const large = (name: string) => hub.requests.filter(({ url }) => url.includes(name));
const pull = (ref: string, options = {}) => pullHubModel(ref, { retryMs: 1, ...options });
const like = (pattern: RegExp) => expect.stringMatching(pattern);
const fault = (path: RegExp, rest: Omit<Fault, "path">) => hub.faults.push({ path, ...rest });

describe("the cache", () => {
  test("has the layout of Python's: contents by hash, relative links by commit, the commit by revision", async () => {
    const commit = hub.commit("tiny/llama");
    const done: number[] = [];
    const pulled = await pull("hf:tiny/llama", { onProgress: ({ done: bytes = 0 }) => done.push(bytes) });
    expect(pulled).toMatchObject({ repo: "tiny/llama", revision: "main", commit, path: repo("snapshots", commit) });
    expect(list(repo("snapshots", commit))).toEqual([
      "config.json",
      "model.safetensors",
      "tokenizer.json",
      "tokenizer_config.json",
    ]);
    for (const name of list(pulled.path)) {
      const link = readlinkSync(join(pulled.path, name));
      expect(link).toMatch(
        name.endsWith(".safetensors") ? /^..\/..\/blobs\/[0-9a-f]{64}$/ : /^..\/..\/blobs\/[0-9a-f]{40}$/,
      );
      expect(readFileSync(join(pulled.path, name))).toEqual(readFileSync(join(TINY, name)));
    }
    expect(list(repo("blobs"))).toHaveLength(4);
    expect(readFileSync(repo("refs", "main"), "utf8")).toBe(commit);
    expect(list(join(home, "hub", ".locks", "models--tiny--llama"))).toEqual([]);
    expect(done.at(-1)).toBe(pulled.bytes);
    expect(done).toEqual([...done].sort((a, b) => a - b));
    expect(hub.requests.map(({ url }) => url).filter((url) => /bin|README|\.py|onnx/.test(url))).toEqual([]);
  });

  test("what is there is used: a second pull and another revision of the same content fetch nothing", async () => {
    await pull("hf:tiny/llama");
    const before = large("/resolve/").length;
    await pull("hf:tiny/llama@v1.0");
    await pull(`hf:tiny/llama@${hub.commit("tiny/llama")}`);
    await pull("hf:tiny/llama@refs/pr/1");
    expect(large("/resolve/")).toHaveLength(before);
    expect(list(repo("refs"))).toEqual(["main", "refs", "v1.0"]);
    expect(readFileSync(repo("refs", "refs", "pr", "1"), "utf8")).toBe(hub.commit("tiny/llama"));
  });

  test("a pulled model is listed, described by its reference, and removed with what no other snapshot has", async () => {
    const { bytes } = await pull("hf:tiny/llama");
    await pull("hf:tiny/llama@v1.0");
    await pull("hf:tiny/gguf/a.Q4_0.gguf");
    await pull("hf:tiny/gguf/a.Q8_0.gguf");
    expect((await listHubModels()).map(({ name, kind, ready }) => [name, kind, ready])).toEqual([
      ["hf:tiny/gguf/a.Q4_0.gguf", "hub", true],
      ["hf:tiny/gguf/a.Q8_0.gguf", "hub", true],
      ["hf:tiny/llama", "hub", true],
    ]);
    expect(await describeModel("hf:tiny/llama")).toMatchObject({ ref: "hf:tiny/llama", config: { n_layers: 2 } });
    expect(await describeModel("hf:tiny/gguf/a.Q4_0.gguf@main")).toMatchObject({ config: { n_layers: 2 } });
    expect(await removeModel("hf:tiny/llama")).toBe(bytes);
    expect(await removeModel("hf:tiny/llama")).toBe(0);
    expect(existsSync(repo())).toBe(false);
    expect(await removeHubModel("hf:tiny/gguf/a.Q4_0.gguf")).toBe(gguf.length);
    expect((await cachedModels()).map(({ ref }) => ref)).toEqual(["hf:tiny/gguf"]);
  });

  test("a snapshot that lacks a shard, a link that leads nowhere and a strange folder are no models", async () => {
    const { path } = await pull("hf:tiny/sharded");
    expect(await cachedModels()).toHaveLength(1);
    const shard = list(path).find((name) => name.endsWith(".safetensors"))!;
    rmSync(join(path, "..", "..", "blobs", readlinkSync(join(path, shard)).split("/").at(-1)!));
    writeFileSync(join(home, "hub", "models--..--evil"), "");
    expect(await cachedModels()).toEqual([]);
    await expect(hubModelPath("hf:tiny/sharded")).rejects.toMatchObject({ kind: "missing" });
    await pull("hf:tiny/sharded");
    expect(await hubModelPath("hf:tiny/sharded")).toBe(path);
  });
});

describe("what is chosen", () => {
  test("sharded weights by their index", async () => {
    const { path } = await pull("hf:tiny/sharded");
    expect(list(path)).toEqual(list(SHARDED).filter((name) => name !== "oracle.json"));
  });

  test("one GGUF file, by name or because there is no other, and nothing beside it", async () => {
    expect((await pull("hf:tiny/gguf/deep/b.gguf")).path).toMatch(/snapshots\/[0-9a-f]{40}\/deep\/b\.gguf$/);
    expect((await pull("hf:tiny/one-gguf")).path).toMatch(/only\.gguf$/);
    expect(large("/resolve/").map(({ url }) => url.split("/").at(-1))).toEqual(["b.gguf", "only.gguf"]);
  });

  const REFUSED: [ref: string, kind: string, message: RegExp][] = [
    ["hf:tiny/gguf", "usage", /several checkpoints/],
    ["hf:tiny/gguf/c.gguf", "missing", /no file c\.gguf/],
    ["hf:tiny/pieces/big-00001-of-00002.gguf", "unsupported", /one of several pieces/],
    ["hf:tiny/pickle", "unsupported", /only as a pickle \(pytorch_model\.bin\)/],
    ["hf:tiny/no-config", "missing", /no config\.json/],
    ["hf:tiny/empty", "missing", /holds no checkpoint/],
    ["hf:tiny/lying-index", "corrupt", /is no index/],
    ["hf:tiny/lost-shard", "missing", /names gone\.safetensors, which is not there/],
    ["hf:tiny/llama@v9", "missing", /has no revision v9/],
    ["hf:tiny/nobody", "missing", /is not on http.*or is private \(401\)/],
    ["hf:closed/private", "missing", /is not on http.*or is private \(401\)/],
    ["hf:closed/gated", "missing", /is closed to you \(403\)/],
  ];
  test.each(REFUSED)("%s is refused as %s", async (ref, kind, message) => {
    await expect(pull(ref)).rejects.toMatchObject({ kind, message: like(message), remedy: like(/./) });
    expect(await cachedModels()).toEqual([]);
    expect(hub.requests.filter(({ url }) => url.startsWith("/cdn/"))).toEqual([]);
  });

  test.each([
    "hf:",
    "hf:../x",
    "hf:a/..",
    "hf:a/b/../c.gguf",
    "hf:a/b/model.safetensors",
    "hf:a/b@../main",
    "hf:a/b@",
    "hf:a--b/c",
    "hf:a/b?x=1",
    "hf:a\\b",
    "hf:/etc/passwd",
    `hf:${"a".repeat(100)}`,
  ])("%s names nothing", (ref) => {
    expect(() => parseHubRef(ref)).toThrow(expect.objectContaining({ kind: "usage" }));
  });

  test("a reference is written as it is read", () => {
    for (const ref of ["hf:gpt2", "hf:org/name", "hf:org/name@refs/pr/3", "hf:org/name.x/sub/file-Q4_K.gguf@v1"])
      expect(formatHubRef(parseHubRef(ref))).toBe(ref);
    expect(formatHubRef(parseHubRef("hf:org/name@main"))).toBe("hf:org/name");
  });
});

describe("when things go wrong", () => {
  const CDN = /^\/cdn\//;

  test("a lost connection is taken up where it broke", async () => {
    fault(CDN, { cutAfter: 10_000 });
    fault(CDN, { cutAfter: 20_000 });
    const { path } = await pull("hf:tiny/llama");
    expect(readFileSync(join(path, "model.safetensors"))).toEqual(weights);
    expect(large("/cdn/").map(({ range }) => range)).toEqual([
      undefined,
      `bytes=10000-${weights.length - 1}`,
      `bytes=30000-${weights.length - 1}`,
    ]);
  });

  test("a pull that failed leaves no name; the next goes on from its bytes", async () => {
    fault(CDN, { cutAfter: 10_000 });
    fault(CDN, { cutAfter: 0, times: 20 });
    await expect(pull("hf:tiny/llama")).rejects.toMatchObject({
      kind: "network",
      message: like(/lost again and again at byte 10000/),
    });
    expect([list(repo("snapshots")), list(repo("refs")), await cachedModels()]).toEqual([[], [], []]);
    hub.faults.length = hub.requests.length = 0;
    const { path } = await pull("hf:tiny/llama");
    expect(large("/cdn/").map(({ range }) => range)).toEqual([`bytes=10000-${weights.length - 1}`]);
    expect(readFileSync(join(path, "model.safetensors"))).toEqual(weights);
    expect(list(repo("blobs")).filter((name) => name.includes("incomplete"))).toEqual([]);
  });

  test("a server that knows no ranges, and bytes of another file left from before, still end in the right file", async () => {
    fault(CDN, { cutAfter: 10_000 });
    fault(CDN, { ignoreRange: true });
    expect(readFileSync(join((await pull("hf:tiny/llama")).path, "model.safetensors"))).toEqual(weights);

    const etag = readlinkSync(join(await hubModelPath("hf:tiny/llama"), "model.safetensors"))
      .split("/")
      .at(-1)!;
    rmSync(repo("blobs", etag));
    writeFileSync(repo("blobs", `${etag}.headscope.incomplete`), Buffer.alloc(5000, 7));
    expect(readFileSync(join((await pull("hf:tiny/llama")).path, "model.safetensors"))).toEqual(weights);
  });

  test.each([CDN, /tokenizer\.json$/])("a wrong hash keeps nothing (%s)", async (path) => {
    fault(path, { spoil: true, times: 2 });
    await expect(pull("hf:tiny/llama")).rejects.toMatchObject({
      kind: "mismatch",
      message: like(/not the file that was expected/),
    });
    expect(list(repo("blobs")).filter((name) => name.includes("incomplete"))).toEqual([]);
    expect([list(repo("snapshots")), list(repo("refs"))]).toEqual([[], []]);
  });

  test("busy and failing answers are tried again; one that stays so is a network error", async () => {
    fault(/\/revision\//, { status: 429, retryAfter: 0 });
    fault(/\/tree\//, { status: 503 });
    fault(CDN, { status: 500, times: 2 });
    await pull("hf:tiny/llama");
    fault(/\/revision\//, { status: 502, times: 99 });
    await expect(pull("hf:tiny/sharded")).rejects.toMatchObject({
      kind: "network",
      message: like(/answered 502 5 times/),
    });
    vi.stubEnv("HF_ENDPOINT", "http://127.0.0.1:9");
    await expect(pull("hf:tiny/sharded")).rejects.toMatchObject({ kind: "network", message: like(/can't be reached/) });
  });

  test("an answer that is no hub's is a network error", async () => {
    fault(/\/revision\//, { text: "<html>" });
    await expect(pull("hf:tiny/llama")).rejects.toMatchObject({ kind: "network", message: like(/can't be read/) });
    fault(/\/revision\//, { text: JSON.stringify({ id: "x", sha: "../../evil" }) });
    await expect(pull("hf:tiny/llama")).rejects.toMatchObject({ kind: "network", message: like(/no commit/) });
    fault(/\/tree\//, { text: JSON.stringify([{ type: "file", path: "config.json", size: 3, oid: "../../evil" }]) });
    await expect(pull("hf:tiny/llama")).rejects.toMatchObject({ kind: "network", message: like(/no list of files/) });
    expect([list(repo("snapshots")), list(repo("blobs"))]).toEqual([[], []]);
  });

  test("a connection that says nothing more counts as lost", async () => {
    fault(CDN, { stallAfter: 10_000 });
    const { path } = await pull("hf:tiny/llama", { stallMs: 200 });
    expect(readFileSync(join(path, "model.safetensors"))).toEqual(weights);
    expect(large("/cdn/").at(-1)!.range).toMatch(/^bytes=10000-/);
  });

  test("a cancelled pull stops at once and leaves no name", async () => {
    fault(CDN, { stallAfter: 10_000 });
    const stop = new AbortController();
    const onProgress = ({ done = 0 }) => done > 10_000 && stop.abort();
    await expect(pull("hf:tiny/llama", { signal: stop.signal, onProgress })).rejects.toMatchObject({
      kind: "cancelled",
    });
    expect([list(repo("snapshots")), list(repo("refs"))]).toEqual([[], []]);
    expect(list(join(home, "hub", ".locks", "models--tiny--llama"))).toEqual([]);
    await pull("hf:tiny/llama");
  });

  test("two pulls at once fetch once", async () => {
    const [a, b] = await Promise.all([pull("hf:tiny/llama"), pull("hf:tiny/llama")]);
    expect(a).toEqual(b);
    expect(large("/cdn/")).toHaveLength(1);
  });
});

describe("settings", () => {
  test("the token opens a private model, and goes to the hub alone", async () => {
    vi.stubEnv("HF_TOKEN", "secret-token");
    await pull("hf:closed/private");
    const [store, own] = [large("/cdn/"), hub.requests.filter(({ url }) => !url.startsWith("/cdn/"))];
    expect(new Set(own.map(({ authorization }) => authorization))).toEqual(new Set(["Bearer secret-token"]));
    expect(store.map(({ authorization }) => authorization)).toEqual([undefined]);
    fault(/\/tree\//, { status: 500, times: 9 });
    await expect(pull("hf:closed/private")).rejects.toMatchObject({ message: expect.not.stringContaining("secret") });
  });

  test("the variables are Python's", () => {
    const of = (env: Record<string, string>) => ({
      ...hubSettings({ HF_TOKEN_PATH: "nowhere", ...env }),
      cache: hubCacheDir(env),
    });
    expect(of({ XDG_CACHE_HOME: "/x" })).toEqual({
      endpoint: "https://huggingface.co",
      token: undefined,
      offline: false,
      cache: "/x/huggingface/hub",
    });
    expect(of({ HF_HOME: "/h", HF_ENDPOINT: "http://mirror/hf/", HF_TOKEN: " t\n", HF_HUB_OFFLINE: "yes" })).toEqual({
      endpoint: "http://mirror/hf",
      token: "t",
      offline: true,
      cache: "/h/hub",
    });
    expect(of({ HF_HOME: "/h", HF_HUB_CACHE: "/c" }).cache).toBe("/c");
    expect(() => hubSettings({ HF_ENDPOINT: "mirror" })).toThrow(expect.objectContaining({ kind: "usage" }));
  });

  test("offline, what is here is used and nothing is asked", async () => {
    await pull("hf:tiny/llama");
    hub.requests.length = 0;
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    expect((await pull("hf:tiny/llama")).path).toBe(await hubModelPath("hf:tiny/llama"));
    await expect(pull("hf:tiny/sharded")).rejects.toMatchObject({ kind: "missing", message: like(/HF_HUB_OFFLINE/) });
    expect(hub.requests).toEqual([]);
  });

  test("loading never fetches", async () => {
    await expect(hubModelPath("hf:tiny/llama")).rejects.toThrow(refused("missing"));
    await expect(describeModel("hf:tiny/llama")).rejects.toMatchObject({
      remedy: like(/headscope models pull hf:tiny\/llama/),
    });
    expect(hub.requests).toEqual([]);
  });
});
