import { z } from "zod";
import { eigenvalueScores } from "../backend/circuits/weights/eigenvalue-scores.ts";
import { everyHead } from "../backend/circuits/weights/factors.ts";
import { formatHead } from "../backend/common/heads/head.ts";
import { loopTurn } from "../backend/runtime/turn.ts";
import { type Probe, refuse, summarise } from "./base.ts";

const parameters = z.object({});

/** A probe that reads the weights alone: eigenvalues of a full circuit over the vocabulary. */
function eigenvalueProbe(
  name: "copying" | "matching",
  words: Pick<Probe<typeof parameters>, "title" | "description"> & { meaning: string },
): Probe<typeof parameters> {
  const { meaning, ...rest } = words;
  return {
    name,
    ...rest,
    source: "Elhage et al. 2021, A Mathematical Framework for Transformer Circuits",
    parameters,
    meanings: { [name]: { meaning, range: [-1, 1] } },
    async run(model, _, context) {
      for (const input of ["tokens", "cases"] as const) refuse(context, name, input);
      const { progress, signal } = context;
      const heads = everyHead(model.config);
      const scores = await eigenvalueScores(model, name, heads, {
        turn: loopTurn(signal),
        ...(progress && { progress }),
      });
      const { n_layers, n_heads } = model.config;
      const values = Array.from({ length: n_layers }, (_, layer) =>
        Array.from({ length: n_heads }, (_, head) => scores.get(formatHead({ layer, head }))!),
      );
      return { tokens: [], metrics: { [name]: { axis: "heads", values } }, summary: summarise(values) };
    },
  };
}

/** Heads whose OV circuit raises the logit of the token that they attend to. */
export const copying = eigenvalueProbe("copying", {
  title: "Copying heads, in the weights",
  description:
    "Sum of the real parts over the sum of the absolute values of the eigenvalues of W_E W_V W_O W_U. No tokens are run; the weights are raw unless the " +
    "model is loaded with --process fold_ln, which changes the score a lot.",
  meaning:
    "Share by which the eigenvalues of the full OV circuit are positive: 1 copies every token, -1 suppresses it.",
});

/** Heads whose QK circuit has a token look for itself. */
export const matching = eigenvalueProbe("matching", {
  title: "Matching heads, in the weights",
  description:
    "Sum of the real parts over the sum of the absolute values of the eigenvalues of W_E W_Q W_Kᵀ W_Eᵀ. No tokens are run; positions, biases and norms " +
    "are left out.",
  meaning: "Share by which the eigenvalues of the full QK circuit are positive: 1 where a token looks for itself.",
});
