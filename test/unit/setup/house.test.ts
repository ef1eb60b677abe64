import { describe, expect, it } from "vitest";
import {
  circles,
  crowdedFolders,
  longParameterLists,
  riddles,
  schemasInBrowser,
} from "../../../backend/setup/check/house.mjs";

describe("the rules of the house", () => {
  it("find files that import each other, by types alone and over others too", () => {
    const sources = [
      { path: "backend/a.ts", text: 'import type { B } from "./rooms/b.ts";\n' },
      { path: "backend/rooms/b.ts", text: 'export { c } from "./c.ts";\n' },
      { path: "backend/rooms/c.ts", text: 'import { a } from "../a.ts";\n' },
      { path: "backend/rooms/d.ts", text: 'import { a } from "../a.ts";\n' },
    ];
    expect(circles(sources)).toHaveLength(1);
    expect(circles(sources)[0]).toMatch(/^backend\/a\.ts, backend\/rooms\/b\.ts, backend\/rooms\/c\.ts:/);
    expect(circles(sources.slice(1))).toEqual([]);
  });

  it("find folders of more than a dozen files, other than registries", () => {
    const files = (folder: string, count: number) => Array.from({ length: count }, (_, i) => `${folder}/${i}.ts`);
    expect(crowdedFolders([...files("backend/a", 13), ...files("backend/b", 12)])).toHaveLength(1);
    expect(crowdedFolders(files("backend/models/families", 40))).toEqual([]);
  });

  it("find functions of more than four positional parameters, in components too", () => {
    const text = "const f = (a, b, c, d, e) => a;\nfunction g({ a, b, c, d, e }) {}\n";
    expect(longParameterLists({ path: "a.ts", text })).toEqual([expect.stringMatching(/^a\.ts:1:/)]);
    const component = `<p>(a, b, c, d, e) =></p>\n<script lang="ts">\n${text}</script>\n`;
    expect(longParameterLists({ path: "A.svelte", text: component })).toEqual([expect.stringMatching(/^A\.svelte:3:/)]);
  });

  it("find doc comments that open with a riddle", () => {
    const text = "/** What it is. */\n/**\n * Whether it is.\n */\n/** A thing: what it is. */\n// How it is\n";
    expect(riddles({ path: "a.ts", text }).map((line) => line.split(":")[1])).toEqual(["1", "2"]);
  });

  it("find values of the front end that bring a schema with them, over other files too", () => {
    const sources = [
      {
        path: "frontend/src/a.ts",
        text: 'import { b } from "../../backend/common/b.ts";\nimport { d } from "../../backend/common/d.ts";\n',
      },
      { path: "frontend/src/types.ts", text: 'import type { C } from "../../backend/common/c.ts";\n' },
      { path: "backend/common/b.ts", text: 'import { c } from "./c.ts";\n' },
      { path: "backend/common/c.ts", text: 'import { z } from "zod";\n' },
      { path: "backend/common/d.ts", text: 'import type { z } from "zod";\n' },
    ];
    expect(schemasInBrowser(sources)).toEqual([expect.stringMatching(/^frontend\/src\/a\.ts: .*b\.ts.*c\.ts/)]);
  });
});
