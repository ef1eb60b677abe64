import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { applyPatchFile } from "../../../backend/setup/native/patch.mjs";
import { ROOT } from "../../helpers/cli.ts";

const PATCH = `--- src/a.txt
+++ src/a.txt
@@ -1,3 +1,3 @@
 one
-two
+TWO
 three
--- src/b.txt
+++ src/b.txt
@@ -1,1 +1,2 @@
 first
+second
`;

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "headscope-patch-"));
  mkdirSync(join(folder, "src"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const read = (name: string) => readFileSync(join(folder, "src", name), "utf8");
const write = (name: string, text: string) => writeFileSync(join(folder, "src", name), text);

test("a patch changes the files it names", async () => {
  write("a.txt", "one\ntwo\nthree\n");
  write("b.txt", "first\n");
  expect(await applyPatchFile(PATCH, folder)).toEqual(["src/a.txt", "src/b.txt"]);
  expect([read("a.txt"), read("b.txt")]).toEqual(["one\nTWO\nthree\n", "first\nsecond\n"]);
});

test("a context line that differs changes nothing at all", async () => {
  write("a.txt", "one\ntwo\nthree\n");
  write("b.txt", "other\n");
  await expect(applyPatchFile(PATCH, folder)).rejects.toMatchObject({ kind: "mismatch", message: /src\/b\.txt/ });
  expect(read("a.txt")).toBe("one\ntwo\nthree\n");
});

test("a patch is not applied twice, nor to a file that is not there", async () => {
  write("a.txt", "one\nTWO\nthree\n");
  write("b.txt", "first\n");
  await expect(applyPatchFile(PATCH, folder)).rejects.toMatchObject({ kind: "mismatch" });
  rmSync(join(folder, "src", "a.txt"));
  await expect(applyPatchFile(PATCH, folder)).rejects.toMatchObject({ kind: "mismatch" });
});

test("the binding's patch fits the installed package", async () => {
  cpSync(join(ROOT, "node_modules/@tensorflow/tfjs-node-gpu/binding"), join(folder, "binding"), { recursive: true });
  const changed = await applyPatchFile(readFileSync(join(ROOT, "backend/setup/native/binding.patch"), "utf8"), folder);
  expect(changed).toEqual(["binding/tfjs_backend.cc", "binding/tfjs_backend.h", "binding/tfjs_binding.cc"]);
  expect(readFileSync(join(folder, "binding/tfjs_binding.cc"), "utf8")).toContain('{"defineFunction"');
});
