import type { Command } from "commander";
import { HeadscopeError } from "../../common/errors.ts";
import type { Runs } from "../context.ts";
import { integerParser, numberParser, studiedModelOptions, tokenOptions } from "../options.ts";

/** Reads the positions that are steered. */
function readPositions(text: string): "all" | "last" | number[] {
  if (text === "all" || text === "last") return text;
  const positions = text.split(",").map((part) => (/^\d+$/.test(part.trim()) ? Number(part) : Number.NaN));
  if (positions.every(Number.isSafeInteger)) return positions;
  throw new HeadscopeError("usage", `--positions cannot be "${text}"`, {
    remedy: "give all, last, or positions from 0 with commas between",
  });
}

/** `headscope steer`: a direction added to the stream. */
export function register(program: Command, runs: Runs): void {
  const command = program
    .command("steer")
    .description("add a direction to the residual stream, and see what comes next");
  studiedModelOptions(command);
  tokenOptions(command)
    .requiredOption(
      "--vector <file>",
      "JSON array of d_model numbers, FILE.safetensors#NAME, or the scores of probe function-vector",
    )
    .requiredOption("--layer <n>", "layer behind which it is added, at hook_resid_post", integerParser("--layer", 0))
    .option("--positions <which>", "positions that are steered: all, last, or a list such as 3,4", readPositions, "all")
    .option("--scale <x>", "factor on the vector; negative ones steer away", numberParser("--scale"), 1)
    .option("--top <n>", "likeliest tokens to show", integerParser("--top", 0), 5)
    .option("--out <file>", "safetensors file for the steered run's logits [rows, positions, d_vocab]");
  runs(command, async () => (await import("./steer.run.ts")).steerPrompt);
}
