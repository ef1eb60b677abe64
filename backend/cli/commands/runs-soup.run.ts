import { makeSoup, type Soup } from "../../jobs/soup.ts";
import type { SoupMethod } from "../../training/origins/soup.ts";
import type { Context } from "../context.ts";
import { withStore } from "../store.ts";
import { number, right, table } from "../text/format.ts";

interface SoupOptions {
  method: SoupMethod;
  metric?: string;
}

/** Averages the weights of runs into a new one. */
export async function soupRuns(context: Context, options: SoupOptions, ...members: string[]): Promise<void> {
  const soup = await withStore((store) => makeSoup(store, { members, ...options }));
  await context.print(soup, () => soupText(soup));
}

/** A soup for people: its members with their own values, then what the mean reaches. */
function soupText({ run, method, metric, members, metrics }: Soup): string {
  const rows = members.map(({ ref, value, chosen }) => [ref, number(value, 4), chosen ? "yes" : "no"]);
  const reached = Object.entries(metrics).map(([name, value]) => [name, number(value, 4)]);
  return [
    table(["run", right(`${metric}, selection rows`), "averaged"], rows),
    "",
    table([`${run} (${method} soup)`, right("value")], reached),
  ].join("\n");
}
