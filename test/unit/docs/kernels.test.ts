import { expect, it } from "vitest";
import { blocksOf, loadAsFile } from "../../helpers/docs.ts";
import { kernelsHere } from "../../helpers/kernels/here.ts";

it("the example of docs/kernels.md attends and multiplies where there are kernels", async () => {
  const { ready } = await kernelsHere();
  const [code] = blocksOf("docs/kernels.md").filter(({ language }) => language === "ts");
  const { example } = await loadAsFile<{ example(): Promise<number[] | undefined> }>(code!.code);
  const out = await example();
  if (!ready) return expect(out).toBeUndefined();
  expect(out).toHaveLength(8);
  expect(out!.every(Number.isFinite)).toBe(true);
});
