import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { PALETTES } from "../common/figures/palette.ts";
import { toPlotly } from "../common/figures/plotly.ts";
import type { Claim, Report } from "../common/figures/report.ts";
import { escapeXml, measuredText, scriptJson } from "../common/figures/text.ts";
import { type Tone, toneOf } from "../common/words.ts";

const require = createRequire(import.meta.url);

/** Nothing is fetched: plotly.js and the figures are in the page, and the browser is told to refuse all else. */
const POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:";

const CLASSES: Readonly<Record<Tone, string>> = { good: "reproduced", bad: "not", open: "inconclusive" };

/** A report as one HTML page that needs no network: claims and verdicts, figures to explore, how to make it again. */
export async function htmlReport(report: Report): Promise<string> {
  const plotly = await readFile(require.resolve("plotly.js/dist/plotly-cartesian.min.js"), "utf8");
  const { experiment, figures } = report;
  const body = `<main>
<header>
<h1>${escapeXml(experiment.title)}</h1>
<p>${escapeXml(experiment.description)}</p>
<p class="faint">${escapeXml(experiment.source)}</p>
</header>
<section>
<h2>Result</h2>
<p>${escapeXml(report.summary)}</p>
${claimsTable(report.claims)}
</section>
<section>
<h2>Figures</h2>
${figures.map((figure, n) => `<figure><div class="plot" id="figure-${n}" role="img" aria-label="${escapeXml(figure.title)}"></div>${figure.caption ? `<figcaption>${escapeXml(figure.caption)}</figcaption>` : ""}</figure>`).join("\n")}
</section>
<section>
<h2>How it was made</h2>
<pre>${escapeXml(report.command)}</pre>
${experiment.trials ? `<p>${escapeXml(`Tried: ${experiment.trials}`)}</p>` : ""}
${parametersTable(report)}
<p class="faint">headscope ${escapeXml(report.headscope)}, ${escapeXml(report.created)}. Runs: ${report.runs.map(escapeXml).join(", ") || "none"}.</p>
</section>
</main>
<script type="application/json" id="figures">${scriptJson(figures.map((figure) => toPlotly(figure, PALETTES.light)))}</script>
<script>${plotly.replace(/<\/(script)/gi, "<\\/$1")}</script>
<script>${DRAW}</script>`;
  return htmlPage({ title: experiment.title, policy: POLICY, style: REPORT_STYLE, body });
}

/** A page of a report's own. @param page.policy content that browsers are to allow it @param page.body its HTML */
export function htmlPage({
  title,
  policy,
  style,
  body,
}: Record<"title" | "policy" | "style" | "body", string>): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<title>${escapeXml(title)}</title>
<style>${style}</style>
</head>
<body>
${body}
</body>
</html>
`;
}

function claimsTable(claims: readonly Claim[]): string {
  const rows = claims.map(
    ({ id, statement, source, check, measured, verdict, why }) => `<tr id="claim-${escapeXml(id)}">
<td><p>${escapeXml(statement)}</p><p class="faint">${escapeXml(source)}</p><details><summary>Check</summary><p>${escapeXml(check)}</p></details></td>
<td><span class="verdict ${CLASSES[toneOf(verdict)]}">${escapeXml(verdict)}</span><p>${escapeXml(why)}</p></td>
<td><dl>${Object.entries(measured)
      .map(([name, value]) => `<dt>${escapeXml(name)}</dt><dd>${escapeXml(measuredText(value))}</dd>`)
      .join("")}</dl></td>
</tr>`,
  );
  return `<div class="wide"><table class="claims"><thead><tr><th>Claim</th><th>Verdict</th><th>Measured</th></tr></thead>
<tbody>${rows.join("\n")}</tbody></table></div>`;
}

function parametersTable({ preset, parameters }: Report): string {
  const rows = [["preset", preset] as const, ...Object.entries(parameters)].map(
    ([name, value]) =>
      `<tr><td>${escapeXml(name)}</td><td>${escapeXml(typeof value === "string" ? value : (JSON.stringify(value) ?? ""))}</td></tr>`,
  );
  return `<details><summary>Parameters</summary><table><tbody>${rows.join("")}</tbody></table></details>`;
}

/** Style of a report that is one page. */
export const REPORT_STYLE = `
:root { color-scheme: light dark; --paper: #fff; --ink: #1c1c1e; --faint: #5f6368; --rule: #e1e3e6; --soft: #f4f5f6;
  --yes: #00714f; --no: #b04300; --open: #5f6368; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181c; --ink: #e6e7e9; --faint: #a2a7ae; --rule: #33373d;
  --soft: #20242a; --yes: #3fc79a; --no: #ff9a5c; --open: #a2a7ae; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .5rem; } h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; }
p { margin: 0 0 .5rem; max-width: 48rem; } .faint, figcaption { color: var(--faint); font-size: .875rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; }
td, th { text-align: left; vertical-align: top; padding: .6rem 1.25rem .6rem 0; border-top: 1px solid var(--rule); }
th { font-size: .875rem; color: var(--faint); border-top: 0; } .claims { width: 100%; min-width: 46rem; }
.claims td:nth-child(1) { width: 42%; } .claims td:nth-child(2) { width: 28%; }
.claims td, details table { font-size: .9375rem; }
.verdict { font-weight: 650; } .reproduced { color: var(--yes); } .not { color: var(--no); } .inconclusive { color: var(--open); }
dl { margin: 0; display: grid; grid-template-columns: auto auto; gap: .15rem .9rem; font-size: .875rem; }
dt { color: var(--faint); } dd { margin: 0; font-variant-numeric: tabular-nums; }
figure { margin: 0 0 1.75rem; } .plot { width: 100%; height: 27rem; }
pre { background: var(--soft); padding: .75rem 1rem; border-radius: 6px; overflow-x: auto; font-size: .875rem; }
summary { cursor: pointer; color: var(--faint); font-size: .875rem; }
`;

/** Draws the figures in the page's colours, and again when these change. */
const DRAW = `
const figures = JSON.parse(document.getElementById("figures").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
function draw() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const axis = { gridcolor: colour("--rule"), linecolor: colour("--faint"), zeroline: false, automargin: true, ticks: "outside", tickcolor: colour("--faint") };
  figures.forEach(({ data, layout }, n) => {
    const { title, xaxis, yaxis, shapes = [] } = layout;
    Plotly.react("figure-" + n, data, {
      ...layout,
      paper_bgcolor: colour("--paper"), plot_bgcolor: colour("--paper"),
      font: { color: colour("--ink"), family: "system-ui, sans-serif", size: 13 },
      title: { ...title, font: { size: 16 }, x: 0, xanchor: "left", xref: "container", automargin: true, yref: "container" },
      xaxis: { ...axis, ...xaxis }, yaxis: { ...axis, ...yaxis },
      shapes: shapes.map((shape) => ({ ...shape, label: { ...shape.label, font: { ...shape.label.font, color: colour("--faint") } } })),
      legend: { orientation: "h", y: -0.22, yanchor: "top" },
      margin: { l: 60, r: 20, t: 48, b: 60 },
    }, { responsive: true, displaylogo: false });
  });
}
draw();
dark.addEventListener("change", draw);
`;
