import { describe, expect, it, test } from "vitest";
import { HeadscopeError } from "../../../../backend/common/errors.ts";
import { parseReference } from "../../../../backend/models/sources/reference.ts";

const RULES = ["existing", "slashed", "absolute", "none"] as const;
/** The kinds that a text is under each rule; "-" where it names nothing. */
const kinds = (text: string): string =>
  RULES.map((rule) => {
    try {
      return parseReference(text, rule).kind;
    } catch (error) {
      expect(error).toBeInstanceOf(HeadscopeError);
      expect(error).toMatchObject({ kind: "usage" });
      return "-";
    }
  }).join(" ");

describe("what kind of model a reference names", () => {
  test.each([
    ["toy-induction", "catalogue catalogue catalogue catalogue"],
    ["run:induction-1", "run run run run"],
    ["run:induction-1@500", "run run run run"],
    ["hf:org/name", "hub hub hub hub"],
    ["hf:org/name/a.gguf@v1", "hub hub hub hub"],
    ["/models/a.gguf", "path path path -"],
    ["./a", "path path - -"],
    ["a/b", "path path - -"],
    ["..\\a", "path path - -"],
    ["a.gguf", "path - - -"],
    ["a.safetensors", "path - - -"],
    [".", "path - - -"],
    ["..", "path - - -"],
    ["nothing-here", "- - - -"],
    ["constructor", "- - - -"],
    ["__proto__", "- - - -"],
    ["", "- - - -"],
    ["run:", "- - - -"],
    ["run:../x", "- - - -"],
    ["run:a@-1", "- - - -"],
    ["run:-rf", "- - - -"],
    ["hf:../x", "- - - -"],
    ["hf:/etc/passwd", "- - - -"],
  ])("%s is %s for a script, the API, a worker and a pull", (text, expected) => {
    expect(kinds(text)).toBe(expected);
  });

  it("is a path for a script where a file or folder of that bare name exists, and for nobody else", () => {
    for (const name of ["backend", "package.json"]) expect(kinds(name)).toBe("path - - -");
  });

  it("holds the parts of a run's and a hub's reference", () => {
    expect(parseReference("run:induction-12@400", "none")).toMatchObject({ id: "induction-12", step: 400 });
    expect(parseReference("run:induction-12", "none")).toMatchObject({ id: "induction-12", step: undefined });
    expect(parseReference("hf:org/name@v1", "none")).toMatchObject({ hub: { repo: "org/name", revision: "v1" } });
  });

  it("is decided by the catalogue before a file of the same name is looked for", () => {
    expect(parseReference("toy-induction", "existing")).toMatchObject({ kind: "catalogue", name: "toy-induction" });
  });
});
