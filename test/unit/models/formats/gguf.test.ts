import { readFile } from "node:fs/promises";
import { gguf } from "@huggingface/gguf";
import { describe, expect, it } from "vitest";
import { HeadscopeError } from "../../../../backend/common/errors.ts";
import { describeCheckpoint } from "../../../../backend/models/families/index.ts";
import { openCheckpoint } from "../../../../backend/models/formats/open.ts";
import { tokenizerFromGguf } from "../../../../backend/models/tokenizers/files/gguf.ts";
import { failure } from "../../../helpers/errors.ts";
import { fixture } from "../../../helpers/fixtures.ts";
import { mutate, seeded, withFile } from "../../../helpers/formats/files.ts";

const tiny = await readFile(fixture("formats/llama-tiny.gguf"));
/** First byte behind a string in the file: a key's value type, or a tensor's dimensions. */
const behind = (text: string) => tiny.indexOf(text) + text.length;
/** The file with numbers written over it. */
function damaged(...changes: { at: number; u32?: number; u64?: bigint; text?: string }[]): Uint8Array {
  const bytes = Buffer.from(tiny);
  for (const { at, u32, u64, text } of changes) {
    if (u32 !== undefined) bytes.writeUInt32LE(u32, at);
    if (u64 !== undefined) bytes.writeBigUInt64LE(u64, at);
    if (text !== undefined) bytes.write(text, at);
  }
  return bytes;
}
const open = async (path: string) => (await openCheckpoint(path)).close();
const openBytes = (bytes: Uint8Array) => withFile("model.bin", bytes, (path) => failure(() => open(path)));

describe("GGUF", () => {
  it("opens by content and says what another reader says", async () => {
    const checkpoint = await withFile("no-extension", tiny, async (path) => {
      const opened = await openCheckpoint(path);
      await opened.close();
      return opened;
    });
    const other = await gguf(fixture("formats/llama-tiny.gguf"), { allowLocalFile: true });
    const {
      version: _,
      tensor_count: __,
      kv_count: ___,
      ...pairs
    } = other.metadata as unknown as Record<string, unknown>;
    const plain = (value: unknown) => (ArrayBuffer.isView(value) ? [...(value as Int32Array)] : value);
    expect(Object.fromEntries(Object.entries(checkpoint.metadata).map(([key, value]) => [key, plain(value)]))).toEqual(
      pairs,
    );
    expect([...checkpoint.tensors.values()].map(({ name, shape }) => ({ name, shape }))).toEqual(
      other.tensorInfos.map(({ name, shape }) => ({ name, shape: [...shape].reverse().map(Number) })),
    );
  });

  it("digests the bytes of the file", async () => {
    const checkpoint = await openCheckpoint(fixture("formats/llama-tiny.gguf"));
    const { createHash } = await import("node:crypto");
    expect(await checkpoint.digest()).toBe(`sha256:${createHash("sha256").update(tiny).digest("hex")}`);
    await checkpoint.close();
  });

  const tensor = behind("blk.0.attn_q.weight"); // dimensions u32, shape 2 x u64, type u32, offset u64
  const cases: [string, Uint8Array, HeadscopeError["kind"], RegExp][] = [
    ["an empty file", new Uint8Array(0), "corrupt", /is empty/],
    ["the magic number alone", tiny.subarray(0, 4), "corrupt", /the version needs bytes up to 8, and the file has 4/],
    ["a header cut short", tiny.subarray(0, 3000), "corrupt", /the file has 3000|the rest of the file has room/],
    [
      "weights cut short",
      tiny.subarray(0, -40),
      "corrupt",
      /tensor ".*" should fill bytes \d+ to \d+, and the file has/,
    ],
    [
      "a tensor count that lies",
      damaged({ at: 8, u64: 2n ** 60n }),
      "corrupt",
      /the tensor count is 1152921504606847000, and the rest/,
    ],
    ["a key count that lies", damaged({ at: 16, u64: 2n ** 40n }), "corrupt", /the metadata count is 1099511627776/],
    ["a string length that lies", damaged({ at: 24, u64: 2n ** 63n }), "corrupt", /the length of metadata key 1 of/],
    [
      "an array length that lies",
      damaged({ at: behind("tokenizer.ggml.tokens") + 8, u64: 10n ** 9n }),
      "corrupt",
      /element count of metadata "tokenizer.ggml.tokens" is 1000000000/,
    ],
    [
      "an unknown value type",
      damaged({ at: behind("llama.block_count"), u32: 77 }),
      "corrupt",
      /llama.block_count" has the unknown value type 77/,
    ],
    ["version 1", damaged({ at: 4, u32: 1 }), "unsupported", /of version 1; versions 2 and 3/],
    ["a big-endian file", damaged({ at: 4, u32: 0x03000000 }), "unsupported", /big-endian/],
    [
      "an unknown tensor type",
      damaged({ at: tensor + 20, u32: 16 }),
      "unsupported",
      /"blk.0.attn_q.weight" has the type IQ2_XXS/,
    ],
    [
      "rows that no block divides",
      damaged({ at: tensor + 4, u64: 33n }),
      "corrupt",
      /rows of 33; Q4_1 needs a multiple of 32/,
    ],
    [
      "an impossible shape",
      damaged({ at: tensor + 4, u64: 2n ** 62n }),
      "corrupt",
      /"blk.0.attn_q.weight" has the impossible shape \[32, /,
    ],
    [
      "an offset outside the file",
      damaged({ at: tensor + 24, u64: 2n ** 40n }),
      "corrupt",
      /"blk.0.attn_q.weight" should fill bytes/,
    ],
    ["overlapping tensors", damaged({ at: tensor + 24, u64: 0n }), "corrupt", /tensors ".*" and ".*" overlap at byte/],
    [
      "a misaligned tensor",
      damaged({ at: tensor + 24, u64: 17n }),
      "corrupt",
      /begins at 17, no multiple of the alignment 32/,
    ],
    [
      "a tensor twice",
      damaged({ at: tiny.indexOf("blk.1.attn_q.weight"), text: "blk.0.attn_q.weight" }),
      "corrupt",
      /tensor "blk.0.attn_q.weight" stands twice/,
    ],
    [
      "a key twice",
      damaged(
        { at: tiny.indexOf("llama.embedding_length"), text: "llama.embedding_length" },
        { at: tiny.indexOf("tokenizer.ggml.bos_token_id"), text: "tokenizer.ggml.eos_token_id" },
      ),
      "corrupt",
      /"tokenizer.ggml.eos_token_id" stands twice/,
    ],
    ["a zip, as torch.save writes", Buffer.from("PK\x03\x04archive/data.pkl"), "unsupported", /is a pickle/],
    ["a pickle", Buffer.from("\x80\x02}q\x00.", "latin1"), "unsupported", /is a pickle/],
    ["something else", Buffer.from("just some text in a file"), "unsupported", /neither GGUF nor safetensors/],
  ];
  it.each(cases)("refuses %s", async (_, bytes, kind, message) => {
    const error = await openBytes(bytes);
    expect(error.message).toMatch(message);
    expect(error.message).toContain("model.bin");
    expect(error.kind).toBe(kind);
    expect(error.remedy).toBeTruthy();
  });

  it("refuses a path that isn't there, and a folder without a checkpoint", async () => {
    expect((await failure(() => open("/nowhere/model.gguf"))).kind).toBe("missing");
    await withFile("notes.txt", "x", async (path) => {
      expect((await failure(() => open(path.replace("/notes.txt", "")))).message).toMatch(/holds no checkpoint/);
    });
  });

  it("names the tensor that holds a NaN, in floats and in scales", async () => {
    const checkpoint = await openCheckpoint(fixture("formats/llama-tiny.gguf"));
    await checkpoint.close();
    for (const [name, value] of [
      ["output_norm.weight", 0x7fc00000],
      ["blk.0.attn_v.weight", 0x7c007c00],
    ] as const) {
      const { offset } = checkpoint.tensors.get(name) as unknown as { offset: number };
      await withFile("nan.gguf", damaged({ at: offset, u32: value }), async (path) => {
        const broken = await openCheckpoint(path);
        const error = await failure(() => broken.read(name));
        expect(error.message).toMatch(`tensor "${name}" holds`);
        expect(error.kind).toBe("corrupt");
        await broken.close();
      });
    }
  });

  it("an unknown tensor is named", async () => {
    const checkpoint = await openCheckpoint(fixture("formats/llama-tiny.gguf"));
    expect((await failure(() => checkpoint.read("blk.9.attn_q.weight"))).message).toContain('"blk.9.attn_q.weight"');
    await checkpoint.close();
  });

  it("500 seeded mutations open or fail with a typed error", async () => {
    const random = seeded(9);
    const headerEnd = tiny.indexOf("output_norm.weight") + 64;
    let opened = 0;
    for (let i = 0; i < 500; i++) {
      const bytes = mutate(tiny, random, headerEnd);
      await withFile("fuzz.gguf", bytes, async (path) => {
        try {
          const checkpoint = await openCheckpoint(path);
          try {
            describeCheckpoint(checkpoint);
            tokenizerFromGguf(checkpoint.metadata).encode("The capital of France is 12");
            for (const name of checkpoint.tensors.keys()) await checkpoint.read(name);
            opened++;
          } finally {
            await checkpoint.close();
          }
        } catch (error) {
          if (!(error instanceof HeadscopeError)) throw new Error(`mutation ${i} ended in a defect`, { cause: error });
        }
      });
    }
    expect(opened).toBeGreaterThan(0);
    expect(opened).toBeLessThan(400);
  });
});
