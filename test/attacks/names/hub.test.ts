import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterEach, describe, expect, test, vi } from "vitest";
import { loadModel } from "../../../backend/models/load.ts";
import { cachedModels, hubModelPath, removeHubModel } from "../../../backend/models/sources/hub/cache.ts";
import { pullHubModel } from "../../../backend/models/sources/hub/pull.ts";
import { fixture } from "../../helpers/fixtures.ts";
import { ownSandbox, photo, refusal } from "../../helpers/processes/sandbox.ts";
import { COMMIT, type Hostile, type HostileHub, listed, startHostileHub } from "../../helpers/servers/hostile-hub.ts";

const gguf = readFileSync(fixture("formats/llama-tiny.gguf"));
const INDEX = "model.safetensors.index.json";

const hubs: Hostile[] = [];
const box = ownSandbox();
afterEach(() => Promise.all(hubs.splice(0).map((hub) => hub.close())));

const repo = (...names: string[]) => join(box.inside, "hub", "models--a--b", ...names);
const snapshot = (...names: string[]) => repo("snapshots", COMMIT, ...names);

/** Pulls from a hub that lies. */
async function pull(hub: HostileHub, ref = "hf:a/b") {
  const server = await startHostileHub(hub);
  hubs.push(server);
  vi.stubEnv("HF_ENDPOINT", server.endpoint);
  return pullHubModel(ref, { retryMs: 1, stallMs: 20_000 });
}

describe("a hub's listing", () => {
  const up = "../".repeat(6);
  const NAMES: [what: string, path: unknown][] = [
    ["a way up", `${up}outside/precious.gguf`],
    ["a way up after a folder", `x/../${up}outside/precious.gguf`],
    ["one step up", "../x.gguf"],
    ["nothing but up", ".."],
    ["the folder itself", "./x.gguf"],
    ["an absolute path", "/tmp/headscope-absolute.gguf"],
    ["another system's separator", "..\\..\\x.gguf"],
    ["another system's drive", "C:/x.gguf"],
    ["NUL", "x\0.gguf"],
    ["a line break", "x\n.gguf"],
    ["an escape", "\u001b]52;c;eA==\u0007.gguf"],
    ["half a character", "x\ud800.gguf"],
    ["an empty part", "a//x.gguf"],
    ["a slash at the end", "x.gguf/"],
    ["nothing", ""],
    ["an immense name", `${"x".repeat(300)}.gguf`],
    ["a name that leaves no room behind it", `${"n".repeat(240)}.gguf`],
    ["an immense path", `${"x/".repeat(600)}x.gguf`],
    ["a number", 7],
    ["null", null],
    ["a list", ["x.gguf"]],
    ["an object", { toString: "x.gguf" }],
  ];
  test.each(NAMES)("with %s as a path writes nothing", async (_, path) => {
    const alone = await refusal(pull({ entries: [listed(path, gguf)], content: gguf }));
    expect(alone.kind).toBe("network");
    const config = Buffer.from("{}");
    const entries = [listed("config.json", config), listed("model.safetensors", gguf), listed(path, gguf)];
    expect((await refusal(pull({ entries, content: gguf }))).kind).toBe("network");
    expect(existsSync(repo("snapshots"))).toBe(false);
    expect(existsSync("/tmp/headscope-absolute.gguf")).toBe(false);
  });

  test.each([
    ["hashes", { ...listed("x.gguf", gguf), lfs: { oid: "../../../../x", size: gguf.length } }],
    ["hashes that are lists", { ...listed("x.gguf", gguf), lfs: { oid: ["a".repeat(64)], size: gguf.length } }],
    ["sizes", { ...listed("x.gguf", gguf), lfs: { oid: "a".repeat(64), size: "1" } }],
    ["negative sizes", { ...listed("x.gguf", gguf), lfs: undefined, size: -1 }],
    ["an entry that is null", null],
    ["an entry that is a number", 3],
  ])("with odd %s is refused", async (_, entry) => {
    expect((await refusal(pull({ entries: [entry], content: gguf }))).kind).toBe("network");
    expect(existsSync(repo("blobs"))).toBe(false);
  });

  test.each([["a/../../x"], [["c".repeat(40)]], [7], [null], [`${"c".repeat(39)}/`]])(
    "is not asked of the commit %j",
    async (sha) => {
      expect((await refusal(pull({ sha, entries: [listed("x.gguf", gguf)], content: gguf }))).kind).toBe("network");
      expect(existsSync(repo())).toBe(false);
    },
  );

  test.each(["../x.safetensors", "/x.safetensors", "a/x.safetensors", "x\0.safetensors", "..\\x.safetensors", 7, null])(
    "is no index of shards with the shard %j",
    async (shard) => {
      const index = Buffer.from(JSON.stringify({ weight_map: { w: shard } }));
      const entries = [listed("config.json", index), listed(INDEX, index)];
      expect((await refusal(pull({ entries, content: index }))).kind).toBe("corrupt");
      expect(existsSync(repo("snapshots"))).toBe(false);
    },
  );

  test("of plain names is fetched: the stand-in is a hub", async () => {
    const { path } = await pull({ entries: [listed("x y.gguf", gguf), listed("README.md", gguf)], content: gguf });
    expect(readFileSync(path)).toEqual(gguf);
  });

  test.each([
    ["the same page", () => "7"],
    ["another page", (cursor: string) => String(Number(cursor) + 1)],
  ])("that always names %s as the next comes to an end", async (_, next) => {
    const work = pull({
      tree: (url, response) => {
        const following = new URL(`http://${hubs[0]?.endpoint.slice(7)}${url.pathname}`);
        following.searchParams.set("cursor", next(url.searchParams.get("cursor") ?? "0"));
        response.writeHead(200, { link: `<${following}>; rel="next"` }).end("[]");
      },
    });
    expect((await refusal(work)).kind).toBe("network");
    expect(hubs[0]!.requests.length).toBeLessThan(1_000);
  });

  test("that never ends, and one that unpacks to a thousand times its length, are given up", async () => {
    let sent = 0;
    const endless = pull({
      tree: (_, response) => {
        response.writeHead(200).write("[");
        const more = () => {
          if (response.destroyed) return;
          sent += 2 ** 20;
          response.write(" ".repeat(2 ** 20), () => setImmediate(more));
        };
        more();
      },
    });
    expect((await refusal(endless)).kind).toBe("network");
    expect(sent).toBeLessThan(2 ** 28);
    const bomb = gzipSync(Buffer.alloc(2 ** 28, " "));
    const held = process.memoryUsage().arrayBuffers;
    const work = pull({
      tree: (_, response) => response.writeHead(200, { "content-encoding": "gzip" }).end(bomb),
    });
    expect((await refusal(work)).kind).toBe("network");
    expect(process.memoryUsage().arrayBuffers - held).toBeLessThan(2 ** 27);
  });
});

describe("a link in the cache", () => {
  const entries = () => [listed("x.gguf", gguf)];
  const etag = () => (listed("x.gguf", gguf) as { lfs: { oid: string } }).lfs.oid;

  test.each<[what: string, place: () => string]>([
    ["the repository's folder", () => repo()],
    ["blobs", () => repo("blobs")],
    ["snapshots", () => repo("snapshots")],
    ["the snapshot", () => snapshot()],
    ["refs", () => repo("refs")],
    ["the locks", () => join(box.inside, "hub", ".locks")],
  ])("in the place of %s is not written through", async (_, place) => {
    mkdirSync(dirname(place()), { recursive: true });
    symlinkSync(join(box.outside, "folder"), place());
    expect((await refusal(pull({ entries: entries(), content: gguf }))).kind).toBe("input");
  });

  test("that leads nowhere is not made a folder", async () => {
    mkdirSync(repo(), { recursive: true });
    symlinkSync(join(box.outside, "new"), repo("blobs"));
    expect((await refusal(pull({ entries: entries(), content: gguf }))).kind).toBe("input");
  });

  test("under the name of a content, a part of one, a file or a revision is replaced, and its target left alone", async () => {
    for (const folder of [repo("blobs"), snapshot(), repo("refs")]) mkdirSync(folder, { recursive: true });
    const secret = join(box.outside, "secret.txt");
    const names = [repo("blobs", `${etag()}.headscope.incomplete`), snapshot("x.gguf"), repo("refs", "main")];
    for (const name of names) symlinkSync(secret, name);
    const copy = join(box.inside, "copy.gguf"); // of the right length, and another content
    writeFileSync(copy, Buffer.alloc(gguf.length));
    symlinkSync(copy, repo("blobs", etag()));
    const { path } = await pull({ entries: entries(), content: gguf });
    expect(readFileSync(path)).toEqual(gguf);
    expect(readFileSync(copy)).toEqual(Buffer.alloc(gguf.length));
  });

  test("and a pipe, in the place of a part, do not keep a pull waiting", async () => {
    mkdirSync(repo("blobs"), { recursive: true });
    execFileSync("mkfifo", [repo("blobs", `${etag()}.headscope.incomplete`)]);
    expect(readFileSync((await pull({ entries: entries(), content: gguf })).path)).toEqual(gguf);
  });

  test("out of the repository's folder is no model: not listed, not opened, and the refusal names it", async () => {
    mkdirSync(snapshot(), { recursive: true });
    mkdirSync(repo("refs"), { recursive: true });
    writeFileSync(repo("refs", "main"), COMMIT);
    symlinkSync(join(box.outside, "precious.gguf"), snapshot("x.gguf"));
    expect(await cachedModels()).toEqual([]);
    for (const ref of ["hf:a/b/x.gguf", "hf:a/b"]) {
      const { kind, message } = await refusal(loadModel(ref));
      expect([kind, message]).toEqual(["input", expect.stringContaining("x.gguf")]);
    }
  });

  test("or a pipe among the revisions is not read", async () => {
    await pull({ entries: entries(), content: gguf });
    symlinkSync(join(box.outside, "secret.txt"), repo("refs", "v1"));
    execFileSync("mkfifo", [repo("refs", "v2")]);
    writeFileSync(repo("refs", "v3"), `${COMMIT}${" ".repeat(5_000)}`);
    expect((await cachedModels()).map(({ ref }) => ref)).toEqual(["hf:a/b"]);
    for (const revision of ["v1", "v2", "v3"])
      expect((await refusal(hubModelPath(`hf:a/b@${revision}`))).kind).toBe("missing");
  });

  test("an immense or changed index of shards is not read again for every list", async () => {
    mkdirSync(snapshot(), { recursive: true });
    for (const name of ["config.json", "a.safetensors"]) writeFileSync(snapshot(name), "{}");
    const index = (bytes: number) => JSON.stringify({ weight_map: { w: "a.safetensors" }, padding: "x".repeat(bytes) });
    writeFileSync(snapshot(INDEX), index(2 ** 22));
    expect(await cachedModels()).toHaveLength(1);
    writeFileSync(snapshot(INDEX), index(2 ** 26));
    expect(await cachedModels()).toEqual([]);
    writeFileSync(snapshot(INDEX), index(10));
    expect(await cachedModels()).toHaveLength(1);
  });
});

describe("removing a model of the hub", () => {
  /** Two snapshots, so that contents which one of them has alone are removed one by one. */
  function twoSnapshots(): void {
    mkdirSync(repo("blobs"), { recursive: true });
    for (const [commit, blob] of [
      [COMMIT, "1"],
      ["d".repeat(40), "2"],
    ] as const) {
      mkdirSync(repo("snapshots", commit), { recursive: true });
      writeFileSync(repo("blobs", blob.repeat(40)), gguf);
      symlinkSync(`../../blobs/${blob.repeat(40)}`, repo("snapshots", commit, "x.gguf"));
    }
    mkdirSync(repo("refs"));
    writeFileSync(repo("refs", "main"), COMMIT);
  }
  const other = () => readFileSync(repo("snapshots", "d".repeat(40), "x.gguf"));

  test("removes what it alone has, and nothing of the other snapshot", async () => {
    twoSnapshots();
    expect(await removeHubModel("hf:a/b")).toBe(gguf.length);
    expect(readdirSync(repo("blobs"))).toEqual(["2".repeat(40)]);
    expect(readdirSync(repo("refs"))).toEqual([]);
    expect(other()).toEqual(gguf);
  });

  const LINKS: [what: string, target: () => string][] = [
    ["a file", () => join(box.outside, "precious.gguf")],
    ["a file, by a relative way", () => `${"../".repeat(6)}outside/precious.gguf`],
    ["a folder", () => join(box.outside, "folder")],
    ["nothing", () => join(box.outside, "not-here")],
    ["itself", () => "y.gguf"],
    ["the repository's folder", () => "../.."],
    ["the folder of contents", () => "../../blobs"],
    [
      "another repository's content",
      () => {
        mkdirSync(join(box.inside, "hub", "models--c--d", "blobs"), { recursive: true });
        writeFileSync(join(box.inside, "hub", "models--c--d", "blobs", "1".repeat(40)), "theirs");
        return `../../../models--c--d/blobs/${"1".repeat(40)}`;
      },
    ],
    [
      "a file behind another link",
      () => {
        symlinkSync(join(box.outside, "precious.gguf"), join(box.inside, "hop"));
        return join(box.inside, "hop");
      },
    ],
    [
      "a file behind a content that is a link",
      () => {
        symlinkSync(join(box.outside, "precious.gguf"), repo("blobs", "3".repeat(40)));
        return `../../blobs/${"3".repeat(40)}`;
      },
    ],
    [
      "a file behind a folder that is a link",
      () => {
        symlinkSync(join(box.outside, "folder"), repo("blobs", "way"));
        return "../../blobs/way/secret.txt";
      },
    ],
  ];
  test.each(LINKS)("removes a link to %s, and not what it leads to", async (_, target) => {
    twoSnapshots();
    symlinkSync(target(), snapshot("y.gguf"));
    expect(await removeHubModel("hf:a/b")).toBe(gguf.length);
    expect(existsSync(snapshot())).toBe(false);
    expect(other()).toEqual(gguf);
    const theirs = join(box.inside, "hub", "models--c--d", "blobs", "1".repeat(40));
    if (existsSync(dirname(theirs))) expect(readFileSync(theirs, "utf8")).toBe("theirs");
  });

  test.each<[what: string, place: () => string]>([
    ["the repository's folder", () => repo()],
    ["snapshots", () => repo("snapshots")],
    ["the snapshot", () => snapshot()],
    ["blobs", () => repo("blobs")],
    ["refs", () => repo("refs")],
  ])("where a link stands in the place of %s removes nothing behind it", async (_, place) => {
    twoSnapshots();
    const aside = join(box.inside, "aside");
    cpSync(place(), aside, { recursive: true, verbatimSymlinks: true });
    rmSync(place(), { recursive: true });
    symlinkSync(aside, place());
    const there = photo(aside);
    await removeHubModel(`hf:a/b@${COMMIT}`);
    expect(photo(aside)).toEqual(there);
  });
});
