import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { openCheckpoint } from "../../../../backend/models/formats/open.ts";
import { encodeSafetensors, type SafeTensor } from "../../../../backend/models/formats/safetensors/safetensors.ts";
import { failure } from "../../../helpers/errors.ts";
import { fixture } from "../../../helpers/fixtures.ts";

const folders: string[] = [];
afterEach(() => Promise.all(folders.splice(0).map((folder) => rm(folder, { recursive: true }))));

/** A folder of the given files: text, bytes or tensors. */
async function folderOf(files: Record<string, string | Uint8Array | Record<string, SafeTensor>>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "headscope-sharded-"));
  folders.push(folder);
  for (const [name, content] of Object.entries(files)) {
    const isTensors = typeof content === "object" && !(content instanceof Uint8Array);
    const bytes = isTensors ? Buffer.concat([...encodeSafetensors(content)]) : content;
    await writeFile(join(folder, name), bytes);
  }
  return folder;
}

const tensor = (...values: number[]): SafeTensor => ({
  dtype: "BF16",
  shape: [values.length],
  data: Float32Array.from(values),
});
const [FIRST, SECOND, INDEX] = [
  "model-00001-of-00002.safetensors",
  "model-00002-of-00002.safetensors",
  "model.safetensors.index.json",
];
const index = (map: Record<string, unknown>) => JSON.stringify({ metadata: {}, weight_map: map });
const whole = {
  [FIRST]: { a: tensor(1, 2), b: tensor(3) },
  [SECOND]: { c: tensor(4, 5, 6) },
  [INDEX]: index({ a: FIRST, b: FIRST, c: SECOND }),
  "config.json": '{"model_type":"llama"}',
};

describe("a checkpoint in several safetensors files", () => {
  it("is one checkpoint, opened by its folder, its index or one of its files", async () => {
    const folder = await folderOf(whole);
    const digests = new Set<string>();
    for (const path of [folder, join(folder, INDEX), join(folder, SECOND)]) {
      const checkpoint = await openCheckpoint(path);
      expect([...checkpoint.tensors.keys()]).toEqual(["a", "b", "c"]);
      expect(checkpoint.metadata["config"]).toEqual({ model_type: "llama" });
      expect([...(await checkpoint.read("a")), ...(await checkpoint.read("c"))]).toEqual([1, 2, 4, 5, 6]);
      expect(await checkpoint.readNarrow("b")).toBeUndefined();
      expect((await failure(() => checkpoint.read("d"))).line).toMatch(/index\.json holds no tensor "d"/);
      digests.add(await checkpoint.digest());
      await checkpoint.close();
    }
    expect([...digests]).toEqual([expect.stringMatching(/^sha256:[0-9a-f]{64}$/)]);
  });

  it("has another digest when one weight differs", async () => {
    const digest = async (files: Parameters<typeof folderOf>[0]) => {
      const checkpoint = await openCheckpoint(await folderOf(files));
      const found = await checkpoint.digest();
      await checkpoint.close();
      return found;
    };
    expect(await digest({ ...whole, [SECOND]: { c: tensor(4, 5, 7) } })).not.toBe(await digest(whole));
  });

  const cases: [string, Parameters<typeof folderOf>[0], string, RegExp][] = [
    ["an index that is no JSON", { ...whole, [INDEX]: "{" }, "corrupt", /index\.json is corrupt: it is not JSON/],
    ["an index without a map", { ...whole, [INDEX]: "{}" }, "corrupt", /weight_map is no object/],
    ["an index of nothing", { ...whole, [INDEX]: index({}) }, "corrupt", /names no tensor/],
    [
      "a tensor named twice",
      { ...whole, [INDEX]: `{"weight_map":{"a":"${FIRST}","a":"${SECOND}"}}` },
      "corrupt",
      /names "a" twice/,
    ],
    [
      "a file outside the folder",
      { ...whole, [INDEX]: index({ a: "../secret.safetensors" }) },
      "corrupt",
      /tensor "a" lies in "\.\.\/secret\.safetensors"; expected the name of a safetensors file/,
    ],
    [
      "a pickle among the files",
      { ...whole, [INDEX]: index({ a: "pytorch_model.bin" }) },
      "corrupt",
      /tensor "a" lies in "pytorch_model\.bin"/,
    ],
    [
      "a file that is not there",
      { [FIRST]: whole[FIRST]!, [INDEX]: whole[INDEX]! },
      "missing",
      /there is no file .*model-00002-of-00002\.safetensors/,
    ],
    [
      "a tensor that its file lacks",
      { ...whole, [INDEX]: index({ a: FIRST, b: FIRST, c: SECOND, d: SECOND }) },
      "missing",
      /00002\.safetensors holds no tensor "d", which .*index\.json says it does/,
    ],
    [
      "a tensor that the index does not name",
      { ...whole, [INDEX]: index({ a: FIRST, c: SECOND }) },
      "mismatch",
      /00001-of-00002\.safetensors holds tensor "b", which .*index\.json does not name/,
    ],
    [
      "a tensor in two files",
      { ...whole, [SECOND]: { a: tensor(9, 9), c: tensor(4) } },
      "mismatch",
      /00002-of-00002\.safetensors holds tensor "a", which .* says is in model-00001/,
    ],
    ["a damaged file", { ...whole, [SECOND]: "nonsense" }, "corrupt", /00002\.safetensors is corrupt/],
    [
      "parts without their index",
      { [FIRST]: whole[FIRST]!, [SECOND]: whole[SECOND]! },
      "missing",
      /parts of a checkpoint without their index; fetch model\.safetensors\.index\.json/,
    ],
  ];
  it.each(cases)("refuses %s", async (_, files, kind, message) => {
    const folder = await folderOf(files);
    const error = await failure(() => openCheckpoint(folder));
    expect(error.line).toMatch(message);
    expect(error.kind).toBe(kind);
  });
});

describe("a pickle", () => {
  const zip = Buffer.from("504b030400000808", "hex");
  it.each([
    ["pytorch_model.bin", zip],
    ["pytorch_model-00001-of-00002.bin", zip],
    ["pytorch_model.bin.index.json", Buffer.from("{}")],
    ["model.pt", Buffer.from("8002 8a0a6cfc9c46f920".replace(" ", ""), "hex")],
    ["consolidated.00.pth", Buffer.from("an old tar archive, say")],
  ])("is refused by its folder and by its name: %s", async (name, bytes) => {
    const folder = await folderOf({ [name]: bytes, "config.json": "{}" });
    for (const path of [folder, ...(name.endsWith(".json") ? [] : [join(folder, name)])]) {
      const error = await failure(() => openCheckpoint(path));
      expect(error.line).toMatch(/is a pickle: reading it would run code in it; it is never unpickled: convert it/);
      expect(error.message).toContain(name);
      expect(error.kind).toBe("unsupported");
    }
  });

  it("beside safetensors is left alone", async () => {
    const folder = await folderOf({ "pytorch_model.bin": zip, "model.safetensors": { a: tensor(1) } });
    const checkpoint = await openCheckpoint(folder);
    expect([...(await checkpoint.read("a"))]).toEqual([1]);
    await checkpoint.close();
  });

  it("is refused by its content under any name", async () => {
    const folder = await folderOf({ "model.safetensors": zip });
    expect((await failure(() => openCheckpoint(folder))).line).toMatch(/is a pickle/);
    await mkdir(join(folder, "empty"));
    expect((await failure(() => openCheckpoint(join(folder, "empty")))).line).toMatch(/holds no checkpoint/);
  });
});

describe("a folder of one file", () => {
  it("still opens by folder and by file", async () => {
    for (const path of [fixture("formats/llama-tiny"), join(fixture("formats/llama-tiny"), "model.safetensors")]) {
      const checkpoint = await openCheckpoint(path);
      expect(checkpoint.metadata["config"]).toMatchObject({ num_hidden_layers: 2 });
      await checkpoint.close();
    }
  });
});
