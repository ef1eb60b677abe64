import type { Command } from "commander";
import { describe, expect, it } from "vitest";
import { createProgram } from "../../../backend/cli/program.ts";

/** Commands that take a model and run it on nothing: its weights alone, or files about it. */
const RUN_NOTHING = ["head", "export", "import", "circuit export", "cost", "tasks sample"];
/** Training of gates: they are of a model's weights by digest, and run on these. */
const RUN_PLAIN = ["train-gates", "levels find"];

/** All commands that do something, by their whole name. */
function commandsOf(command: Command, before: string[] = []): { name: string; options: string[] }[] {
  const own = command.commands.flatMap((child) => commandsOf(child, [...before, child.name()]));
  const options = command.options.map(({ long }) => String(long));
  return [...own, { name: before.join(" "), options }];
}

describe("the command line", () => {
  const commands = commandsOf(createProgram([], async () => {})).filter(({ options }) => options.includes("--model"));

  it("takes interventions from a file in every command that runs a model, but the training of gates", () => {
    expect(commands.length).toBeGreaterThan(15);
    const without = commands.filter(({ options }) => !options.includes("--interventions")).map(({ name }) => name);
    expect(without.toSorted()).toEqual([...RUN_NOTHING, ...RUN_PLAIN].toSorted());
  });
});
