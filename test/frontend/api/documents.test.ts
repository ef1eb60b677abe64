import { expect, it } from "vitest";
import { Documents } from "../../../frontend/src/api/documents.svelte.ts";

/** Documents of which the reading is counted; of "broken" it fails the first time. */
function counted(): { documents: Documents<string>; readings: string[] } {
  const readings: string[] = [];
  const documents = new Documents<string>(async (id) => {
    readings.push(id);
    if (id === "broken" && readings.length === 1) throw new Error("not reached");
    return `${id} ${readings.length}`;
  });
  return { documents, readings };
}

it("a document is read when it is wanted first, once", async () => {
  const { documents, readings } = counted();
  expect(readings).toEqual([]);
  expect(documents.get("a")).toBeUndefined();
  await Promise.resolve();
  expect(documents.get("a")).toBe("a 1");
  expect(readings).toEqual(["a"]);
});

it("a document that is renewed stays until it is here anew", async () => {
  const { documents, readings } = counted();
  documents.get("a");
  await Promise.resolve();
  documents.renew("a");
  expect(documents.get("a")).toBe("a 1");
  await Promise.resolve();
  expect(documents.get("a")).toBe("a 2");
  expect(readings).toEqual(["a", "a"]);
});

it("a document that could not be read is read again when it is wanted again", async () => {
  const { documents } = counted();
  documents.get("broken");
  await Promise.resolve();
  await Promise.resolve();
  expect(documents.get("broken")).toBeUndefined();
  await Promise.resolve();
  expect(documents.get("broken")).toBe("broken 2");
});
