import type { EvaluatedPoint, PolicyEvaluation } from "../../common/api/evaluations.ts";
import { evaluationFigures } from "../../common/evaluation/figures.ts";
import { escapeXml, measuredText } from "../../common/figures/text.ts";
import { counted } from "../../common/text.ts";
import { EVALUATION_COSTS, type EvaluationCost } from "../../common/words.ts";
import { REPORT_STYLE } from "../../reports/html.ts";
import { toSvg } from "../../reports/svg.ts";

/** Nothing is fetched or run: the pictures are in the page. */
const POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

const COST_WORDS: Readonly<Record<EvaluationCost, string>> = { bytes: "memory", prefill: "prompt", decode: "token" };

/** An evaluation as one HTML page that needs neither network nor scripts. */
export function evaluationReport(evaluation: PolicyEvaluation): string {
  const { model, settings, points, environment, created, headscope, command } = evaluation;
  const title = `Policies on ${model.ref}`;
  const groups = [...new Set(points.map(({ task, length }) => `${task}, ${counted(length, "token")}`))];
  const inGroup = (group: string) =>
    points.filter(({ task, length }) => `${task}, ${counted(length, "token")}` === group);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${POLICY}">
<title>${escapeXml(title)}</title>
<style>${REPORT_STYLE}${STYLE}</style>
</head>
<body>
<main>
<header>
<h1>${escapeXml(title)}</h1>
<p>${escapeXml(subtitle(evaluation))}</p>
</header>
<section>
<h2>Quality and cost</h2>
${evaluationFigures(points)
  .map(
    (figure) =>
      `<figure><img alt="${escapeXml(figure.title)}" src="data:image/svg+xml;base64,${Buffer.from(toSvg(figure)).toString("base64")}"><figcaption>${escapeXml(figure.caption ?? "")}</figcaption></figure>`,
  )
  .join("\n")}
</section>
${groups.map((group) => `<section>\n<h2>${escapeXml(group)}</h2>\n${pointsTable(inGroup(group))}\n${answers(inGroup(group))}\n</section>`).join("\n")}
<section>
<h2>How it was made</h2>
<pre>${escapeXml(command)}</pre>
<p class="faint">headscope ${escapeXml(headscope)}, ${escapeXml(created)}, Node.js ${escapeXml(environment.node)} on ${escapeXml(environment.platform)}, kernels: ${escapeXml(environment.kernels)}, ${counted(environment.threads, "thread")}; weights ${escapeXml(model.digest ?? "unknown")}; cache ${settings.cache}.</p>
</section>
</main>
</body>
</html>
`;
}

function subtitle({ settings }: PolicyEvaluation): string {
  const { cases, mode, seed } = settings;
  const how = {
    single: "one question of each",
    turns: "all questions of each one after another on one cache",
    requests: "all questions of each on the context as it was cut for the first",
  }[mode];
  return `${counted(cases, "case")} of each task and length, ${how} (mode ${mode}, seed ${seed}). Scores and losses are means with 95 % intervals over the cases; times are medians. The loss is the negative log-likelihood of a token of the first expected text, or of the text that is scored.`;
}

function pointsTable(points: readonly EvaluatedPoint[]): string {
  const heads = ["policy", "budget", "score", "95 %", "loss, nats", "95 %", "needles held", "memory", "prompt, ms", "token, ms", "no other is better by"]; // biome-ignore format: one list
  const rows = points.map((point) => [
    point.label,
    point.budget === null ? "" : String(point.budget),
    measuredText(point.score.value),
    rangeText(point.score),
    measuredText(point.loss.value),
    rangeText(point.loss),
    measuredText(point.kept),
    `${measuredText((100 * point.bytes) / point.bytesFull)} %`,
    measuredText(point.prefillMs),
    measuredText(point.decodeMsPerToken),
    EVALUATION_COSTS.filter((cost) => point.front.includes(cost)).map((cost) => COST_WORDS[cost]).join(", "), // biome-ignore format: one line
  ]);
  const cells = (row: readonly string[], tag: string): string =>
    `<tr>${row.map((cell) => `<${tag}>${escapeXml(cell)}</${tag}>`).join("")}</tr>`;
  const chance = points[0]!.scoring === "answers" ? `<p class="faint">A guess scores ${measuredText(points[0]!.chance)}.</p>` : ""; // biome-ignore format: one line
  return `<div class="wide"><table class="points"><thead>${cells(heads, "th")}</thead><tbody>${rows.map((row) => cells(row, "td")).join("\n")}</tbody></table></div>${chance}`;
}

function rangeText({ low, high }: EvaluatedPoint["score"]): string {
  return low === null ? "" : `${measuredText(low)} to ${measuredText(high)}`;
}

/** All answers of a task and length, behind a click for each policy. */
function answers(points: readonly EvaluatedPoint[]): string {
  return points
    .map((point) => {
      const rows = point.cases.flatMap(({ number, questions }) =>
        questions.map(
          ({ question, expected, text, score, loss, needles }) =>
            `<tr><td>${number + 1}</td><td>${escapeXml(question)}</td><td>${escapeXml(expected.join(", "))}</td><td>${escapeXml(text)}</td><td>${measuredText(score)}</td><td>${measuredText(loss)}</td><td>${needles.map(({ kept }) => measuredText(kept)).join(", ")}</td></tr>`,
        ),
      );
      const name = point.budget === null ? point.label : `${point.label} at ${point.budget}`;
      return `<details><summary>${escapeXml(name)}</summary><div class="wide"><table><thead><tr><th>case</th><th>question</th><th>expected</th><th>answer</th><th>score</th><th>loss, nats</th><th>needles held</th></tr></thead><tbody>${rows.join("\n")}</tbody></table></div></details>`;
    })
    .join("\n");
}

const STYLE = `
img { max-width: 100%; height: auto; background: #fff; }
.points td { font-variant-numeric: tabular-nums; } td, th { padding-top: .35rem; padding-bottom: .35rem; }
`;
