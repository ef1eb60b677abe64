import { describe, expect, test } from "vitest";
import {
  brief,
  errorAt,
  HeadscopeError,
  isUnknownName,
  nearestNames,
  unknownName,
} from "../../../backend/common/errors.ts";
import { encodeFrame, fromWire, toWire } from "../../../backend/jobs/protocol.ts";

const LONG = "x".repeat(20 << 20);

describe("an error", () => {
  test("keeps what a person reads of what it quotes, and says that there was more", () => {
    const { message, remedy, line } = new HeadscopeError("input", `there is no ${LONG}`, { remedy: `not ${LONG}` });
    for (const text of [message, remedy!]) {
      expect(text.length).toBe(2_000);
      expect(text.endsWith("…")).toBe(true);
    }
    expect(line.length).toBeLessThan(5_000);
    expect(new HeadscopeError("input", "short", { remedy: "do this" }).line).toBe("short; do this");
  });

  test("for an unknown name may be of something that is no text", () => {
    expect(unknownName("probe", undefined as unknown as string, ["copying"]).message).toBe('unknown probe "undefined"');
  });

  test("cuts between characters", () => {
    expect(brief("ab😀cd", 4)).toBe("ab…");
    expect(brief("ab😀cd", 5)).toBe("ab😀…");
    expect(brief("abcd", 4)).toBe("abcd");
  });

  test("of an unknown name quotes its beginning, finds the nearest names, and is known again", () => {
    const error = unknownName("probe", `induction${LONG}`, ["induction", "retrieval"]);
    expect(error.message.length).toBeLessThan(300);
    expect(error.remedy).toBe("did you mean induction, retrieval?");
    expect(isUnknownName(error)).toBe(true);
    expect(nearestNames("inductoin", ["retrieval", "induction"], 1)).toEqual(["induction"]);
    expect(nearestNames("duo", ["csv", "qwen-1m", "duo-attention"])[0]).toBe("duo-attention");
  });

  test("fits into a frame on its way to the parent, whatever it says", () => {
    const system = Object.assign(new Error(LONG), { code: "ENOENT", path: LONG, name: LONG });
    for (const error of [new Error(LONG), new HeadscopeError("input", LONG), system, LONG]) {
      const [frame] = encodeFrame({ id: 1, type: "error", error: toWire(error) } as never);
      expect(frame!.length).toBeLessThan(100_000);
    }
    expect(fromWire(toWire(new HeadscopeError("missing", "gone")))).toMatchObject({ kind: "missing", message: "gone" });
  });

  test("is of the same field and subject after its way, and with a place before it", () => {
    const parts = { field: ["d_model", "n_heads"], subject: "runs/a.json" };
    const error = new HeadscopeError("input", "they contradict each other", parts);
    expect(fromWire(toWire(error))).toMatchObject(parts);
    expect(errorAt("sweep.yaml", error)).toMatchObject({ ...parts, kind: "input" });
    expect(isUnknownName(fromWire(toWire(unknownName("run", 'a"b', []))) as HeadscopeError)).toBe(true);
    expect(isUnknownName(new HeadscopeError("usage", 'unknown probe "a"'))).toBe(false);
  });
});
