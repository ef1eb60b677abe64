import type { CircuitEvaluation } from "../../common/api/circuits.ts";
import type { Figure } from "../../common/figures/figure.ts";
import type { Claim, Report } from "../../common/figures/report.ts";
import { counted } from "../../common/text.ts";
import { weakestTemplate } from "./verdicts.ts";

/** An evaluation as a report: its verdicts as claims, and figures of its curve and of what each edge is worth. @param command that made it */
export function evaluationReport(
  evaluation: CircuitEvaluation,
  command: string,
): Omit<Report, "format" | "created" | "headscope"> {
  const { model, method, metric, edges, total, pairs, faithfulness, seed, resamples, random, verdicts } = evaluation;
  const held = verdicts.filter(({ verdict }) => verdict === "holds").length;
  return {
    experiment: {
      name: "circuit-evaluation",
      title: `A circuit of ${model.ref}`,
      description:
        "The circuit's edges carry what they carry in its own run, all others the corrupt prompt's outputs. Intervals are of 95 %, over resamples of the pairs.",
      source: "Wang et al. 2023, Interpretability in the Wild; Mueller et al. 2025, MIB; Shi et al. 2024",
    },
    preset: method,
    parameters: { metric, edges, of: total, pairs, seed, resamples, draws: random.draws },
    command,
    summary: `${edges} of ${total} edges keep ${(100 * faithfulness.value).toFixed(1)} % of the clean prompts' advantage over ${counted(pairs, "pair")}; ${held} of ${verdicts.length} claims hold.`,
    claims: verdicts.map((verdict) => claimOf(verdict, evaluation)),
    figures: [curveFigure(evaluation), lossFigure(evaluation)],
    runs: [],
  };
}

function claimOf(
  { name, statement, check, verdict, why }: CircuitEvaluation["verdicts"][number],
  evaluation: CircuitEvaluation,
): Claim {
  return {
    id: name.replace(/[^A-Za-z0-9]+/g, "-"),
    statement,
    source: `${evaluation.method}, ${evaluation.edges} edges`,
    check,
    measured: measuredBy(name, evaluation),
    verdict,
    why,
  };
}

function measuredBy(name: string, evaluation: CircuitEvaluation): Claim["measured"] {
  const { faithfulness, completeness, minimality, random, stability, others } = evaluation;
  const shown = ({ value, low, high }: CircuitEvaluation["faithfulness"]) => ({ value, low, high });
  if (name === "complete") return shown(completeness);
  if (name === "minimal") return { needed: minimality.needed, tried: minimality.tried };
  const worst = weakestTemplate(evaluation);
  if (name === "robust" && worst) return shown(worst);
  if (name === "stable" && stability) return shown(stability);
  if (name === "chosen") return { ...shown(faithfulness), "best of the random ones": Math.max(...random.faithfulness) };
  return shown(others[name.replace(/^faithful on /, "")] ?? faithfulness);
}

function curveFigure({ curve, random, edges, cpr, cmd }: CircuitEvaluation): Figure {
  const areas = cpr === null || cmd === null ? "" : ` CPR ${cpr.toFixed(3)}, CMD ${cmd.toFixed(3)}.`;
  return {
    kind: "lines",
    name: "faithfulness",
    title: "Faithfulness by number of edges",
    caption: `The circuit's first edges, and random circuits with as many edges into every layer.${areas}`,
    x: { title: "edges", log: true },
    y: { title: "faithfulness" },
    lines: [
      {
        name: "circuit",
        x: curve.map((point) => point.edges),
        y: curve.map((point) => point.faithfulness),
        points: true,
      },
      {
        name: "random circuits",
        x: random.faithfulness.map(() => edges),
        y: [...random.faithfulness],
        joined: false,
        points: true,
      },
    ],
  };
}

function lossFigure({ minimality }: CircuitEvaluation): Figure {
  return {
    kind: "lines",
    name: "minimality",
    title: "Faithfulness lost without one edge",
    caption: `${minimality.tried} edges, in the order of the circuit.`,
    x: { title: "edge", whole: true },
    y: { title: "faithfulness lost" },
    lines: [
      {
        name: "without the edge",
        x: minimality.losses.map((_, i) => i + 1),
        y: minimality.losses.map(({ loss }) => loss),
        joined: false,
        points: true,
      },
    ],
  };
}
