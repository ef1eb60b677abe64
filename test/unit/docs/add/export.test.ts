import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { maskFromHeads } from "../../../../backend/common/heads/mask.ts";
import type { Exporter } from "../../../../backend/exports/export.ts";
import { loadAsFile, typescriptOf } from "../../../helpers/docs.ts";

it("the export of docs/add-an-export.md writes the layers that lose a head, one a line", async () => {
  const { layerList } = await loadAsFile<{ layerList: Exporter }>(typescriptOf("docs/add-an-export.md"));
  const model = { ref: "m", family: "llama", layers: 4, heads: 2, kvHeads: 1 };
  const mask = maskFromHeads(model, [
    { layer: 2, head: 1 },
    { layer: 0, head: 0 },
    { layer: 2, head: 0 },
  ]);
  const folder = mkdtempSync(join(tmpdir(), "headscope-layer-list-"));
  try {
    const path = join(folder, "layers.txt");
    const parameters = layerList.parameters.parse({ first: 1 }) as never;
    expect(await layerList.write({ mask }, path, parameters, {})).toEqual({ path, files: [path] });
    expect(readFileSync(path, "utf8")).toBe("1\n3\n");
  } finally {
    rmSync(folder, { recursive: true });
  }
});
