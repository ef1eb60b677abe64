import { describe, expect, it } from "vitest";
import { answerOf } from "../../../backend/server/http/problems.ts";
import { definitions } from "../../../backend/server/routes/definitions.ts";
import { changeParameters } from "../../../backend/training/changes/parameters.ts";
import { modelParameters, trainingParameters } from "../../../backend/training/parameters.ts";
import { makeSpec } from "../../../backend/training/spec.ts";
import { problemsByField } from "../../../frontend/src/components/controls/flags.ts";
import { exampleTokens, parseTokenIds } from "../../../frontend/src/training/checkpoint/prompts.ts";
import { Scrub } from "../../../frontend/src/training/checkpoint/scrub.ts";
import {
  changedParams,
  draftOf,
  draftRequest,
  groupFlags,
  readSeeds,
  runFlags,
  trainCommand,
} from "../../../frontend/src/training/runs/form.ts";
import { tasks } from "../../../synthetic-tasks/index.ts";

const induction = tasks.get("induction");
const flags = runFlags(definitions().tasks.find(({ name }) => name === "induction")!);

describe("the form of a new run", () => {
  it("parts every task's flags as the schemas do", () => {
    for (const task of definitions().tasks) {
      const changes = Object.keys(changeParameters.shape);
      expect(groupFlags(task).map(({ flags }) => flags.map(({ name }) => name))).toEqual([
        Object.keys(tasks.get(task.name).parameters.shape),
        Object.keys(modelParameters.shape),
        Object.keys(trainingParameters.shape).filter((name) => !changes.includes(name)),
        changes,
      ]);
    }
  });

  it("sends only what differs from the defaults", () => {
    const values = { steps: "300", n_layers: "2", batch: " ", d_head: "8", readout_hidden: "" };
    expect(changedParams(flags, values)).toEqual({ steps: "300", d_head: "8" });
  });

  it("takes over a run so that the same is trained", () => {
    const spec = makeSpec(induction, { steps: 300, readout_hidden: [8, 4], vocabulary: 32 }, { probes: ["induction"] });
    const draft = draftOf({ spec, seed: 3 }, flags);
    expect(draft.params).toMatchObject({ steps: "300", readout_hidden: "8,4", vocabulary: "32" });
    const { params, probes } = draftRequest(draft, [3]);
    expect(makeSpec(induction, params, { probes: probes! })).toEqual(spec);
  });

  it("writes the command that trains the same", () => {
    const draft = { task: "induction", params: { steps: "300", readout_hidden: "8,4" }, seeds: "0,1" };
    expect(trainCommand(draft, [0, 1])).toBe(
      "npx headscope train induction --seeds 0,1 --param steps=300 --param readout_hidden=8,4",
    );
    expect(trainCommand({ ...draft, params: {}, probes: [] }, [2])).toBe(
      "npx headscope train induction --seed 2 --probes none",
    );
  });

  it("reads seeds and ranges of seeds, and says what is wrong with others", () => {
    expect(readSeeds("0, 2 5-7")).toEqual({ seeds: [0, 2, 5, 6, 7] });
    for (const text of ["", "x", "1.5", "-1", "3-1", "0,0", "0-2,1"]) expect(readSeeds(text)).toHaveProperty("problem");
  });
});

describe("problems of the server", () => {
  const names = flags.map(({ name }) => name);
  const refused = (params: Record<string, unknown>) => {
    try {
      makeSpec(induction, params);
    } catch (error) {
      return answerOf(error).problem;
    }
    throw new Error("nothing was refused");
  };

  it("stand at the parameter that they name", () => {
    expect(Object.keys(problemsByField(refused({ batch: 0 }), names))).toEqual(["batch"]);
  });

  it("stand at both of two that contradict each other", () => {
    const problems = problemsByField(refused({ d_model: 63, n_heads: 4 }), names);
    expect(Object.keys(problems).sort()).toEqual(["d_model", "n_heads"]);
    expect(problems["d_model"]).toContain("change one of them");
  });

  it("stand nowhere where no parameter is named", () => {
    const problem = { type: "", title: "", status: 503, kind: "busy", detail: "the queue is full" };
    expect(problemsByField(problem, names)).toEqual({});
  });
});

describe("tokens of the pattern's prompt", () => {
  it("fit the model, and repeat", () => {
    for (const shape of [{ d_vocab: 64, n_ctx: 64 }, { d_vocab: 3, n_ctx: 5 }, { d_vocab: 2, n_ctx: 2 }]) {
      const tokens = exampleTokens(shape);
      expect(tokens.length).toBeLessThanOrEqual(shape.n_ctx);
      expect(tokens.every((id) => id >= 0 && id < shape.d_vocab)).toBe(true);
    }
    const tokens = exampleTokens({ d_vocab: 64, n_ctx: 64 });
    expect(tokens.slice(1, 17)).toEqual(tokens.slice(17));
    expect(new Set(tokens.slice(0, 17)).size).toBe(17);
  }); // biome-ignore format: short lists

  it("are refused outside the vocabulary and the context", () => {
    const shape = { d_vocab: 8, n_ctx: 4 };
    expect(parseTokenIds(" 0, 7 3 ", shape)).toEqual({ tokens: [0, 7, 3] });
    for (const text of ["8", "-1", "a", "0 1 2 3 4"]) expect(parseTokenIds(text, shape)).toHaveProperty("problem");
  });
});

describe("moving over checkpoints", () => {
  function scrubbing(capacity?: number) {
    const asked: number[] = [];
    const given: number[] = [];
    const answers = new Map<number, () => void>();
    const scrub = new Scrub((step, signal) => {
      asked.push(step);
      return new Promise<string>((resolve, reject) => {
        answers.set(step, () => resolve(`at ${step}`));
        signal.addEventListener("abort", () => {
          given.push(step);
          reject(new DOMException("given up", "AbortError"));
        });
      });
    }, capacity);
    const settle = () => new Promise((resolve) => setTimeout(resolve));
    const answer = (step: number) => {
      answers.get(step)!();
      return settle();
    };
    return { scrub, asked, given, answer };
  }

  it("reads neighbours ahead once the value is here, and nothing twice", async () => {
    const { scrub, asked, answer } = scrubbing();
    const value = scrub.at(10, [20, 0]);
    expect(asked).toEqual([10]);
    await answer(10);
    expect(await value).toBe("at 10");
    expect(asked).toEqual([10, 20]);
    await answer(20);
    expect(asked).toEqual([10, 20, 0]);
    expect(await scrub.at(20)).toBe("at 20");
    expect(asked).toEqual([10, 20, 0]);
  });

  it("gives up steps that the slider has left, and keeps those that it still wants", async () => {
    const { scrub, asked, given, answer } = scrubbing();
    const left = scrub.at(10, [20]).catch((error: Error) => error.name);
    const value = scrub.at(20, [10]);
    expect(given).toEqual([]);
    const last = scrub.at(30);
    expect(await left).toBe("AbortError");
    await expect(value).rejects.toThrow("given up");
    expect(given.sort()).toEqual([10, 20]);
    await answer(30);
    expect(await last).toBe("at 30");
    expect(asked).toEqual([10, 20, 30]);
  });

  it("gives all up by its signal, unless another step was asked for at once", async () => {
    const { scrub, given, answer } = scrubbing();
    const [first, second] = [new AbortController(), new AbortController()];
    const before = scrub.at(10, [], first.signal);
    first.abort();
    const again = scrub.at(10, [], second.signal);
    await answer(10);
    expect(await before).toBe("at 10");
    expect(await again).toBe("at 10");
    const cancelled = scrub.at(20, [], second.signal);
    second.abort();
    await expect(cancelled).rejects.toThrow("given up");
    expect(given).toEqual([20]);
  });

  it("asks again for what failed, and lets go of the oldest", async () => {
    let fails = true;
    const scrub = new Scrub((step) => (fails ? Promise.reject(new Error("no")) : Promise.resolve(step)), 1);
    await expect(scrub.at(1)).rejects.toThrow("no");
    fails = false;
    expect(await scrub.at(1)).toBe(1);
    expect(await scrub.at(2)).toBe(2);
    expect([scrub.peek(1), scrub.peek(2)]).toEqual([undefined, 2]);
  });
});
