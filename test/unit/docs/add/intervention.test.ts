import { beforeAll, expect, it, vi } from "vitest";
import type { Intervention } from "../../../../backend/hooks/intervention-schema.ts";
import { runWithCache } from "../../../../backend/hooks/run.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";

// The page's entry stands in the table as it would in the file.
vi.mock("../../../../backend/hooks/intervention-kinds.ts", async (original) => {
  const { loadAsFile, typescriptOf } = await import("../../../helpers/docs.ts");
  const kinds = await original<typeof import("../../../../backend/hooks/intervention-kinds.ts")>();
  const { page } = await loadAsFile<{ page: object }>(
    `// backend/hooks/page.ts\nimport { tf } from "../runtime/tf.ts";\nexport const page = {\n${typescriptOf("docs/add-an-intervention.md")}};\n`,
  );
  Object.assign(kinds.INTERVENTION_KINDS, page);
  return kinds;
});

const Z = "blocks.1.attn.hook_z";

beforeAll(async () => void (await initBackend()));

it("the kind of docs/add-an-intervention.md moves an activation half of the way to another one", () => {
  const model = randomModel(smallConfig());
  const [tokens, other] = [randomTokens(1, 8, 96, 1), randomTokens(1, 8, 96, 2)];
  const zOf = (rows: number[][], interventions: readonly Intervention[] = []): Float32Array => {
    const { logits, cache } = runWithCache(model, rows, { names: [Z], interventions });
    const z = cache.get(Z).dataSync() as Float32Array;
    tf.dispose(logits!);
    cache.dispose();
    return z;
  };
  const towards = { at: Z, do: "towards", with: { tokens: other } } as unknown as Intervention;
  const [own, target, moved] = [zOf(tokens), zOf(other), zOf(tokens, [towards])];
  for (const [i, value] of moved.entries()) expect(value).toBeCloseTo((own[i]! + target[i]!) / 2, 4);
});
