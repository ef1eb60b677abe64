import type { DefinitionDocument, Definitions } from "../../../../backend/common/api/definitions.ts";
import type { GenerateRequest } from "../../../../backend/common/api/generation.ts";
import { CHOOSES, RATIO } from "../../../../backend/common/words.ts";
import { flagProblem } from "../../components/controls/flags.ts";
import { flag, json } from "../../state/codecs.ts";
import { urlParam } from "../../state/url.svelte.ts";
import { workspace } from "../../state/workspace.svelte.ts";

/** A policy as the server describes it. */
export type PolicyDocument = Definitions["policies"][number];

/** Text of parameters by policy: those that are chosen. */
type Chosen = Readonly<Record<string, Readonly<Record<string, string>>>>;

export const params = {
  chosen: urlParam("policies", json<Chosen>({})),
  /** False leaves the mask of step 1 out, so that the policies are seen alone. */
  withMask: urlParam("with-mask", flag(true)),
};

/** Things that policies of this page choose; which heads keep everything is the mask's affair. */
export const THINGS = CHOOSES.filter((what) => what !== "heads");

/** The policies beside the mask, each with its parameters. */
class PolicyState {
  readonly definitions: readonly PolicyDocument[] = $derived(workspace.definitions.value?.policies ?? []);

  /** Those chosen, in the order in which they act. */
  readonly chosen: readonly PolicyDocument[] = $derived(
    THINGS.flatMap((what) =>
      this.definitions.filter(({ name, chooses }) => chooses === what && Object.hasOwn(params.chosen.value, name)),
    ),
  );

  /** True where a parameter can't be. */
  readonly wrong = $derived(
    this.chosen.some(({ name, flags }) =>
      flags.some((each) => flagProblem(each, this.values(name)[each.name] ?? "") !== undefined),
    ),
  );

  /** As a request has them. */
  readonly requests: NonNullable<GenerateRequest["policies"]> = $derived(
    this.chosen.map(({ name }) => ({ name, params: this.values(name) })),
  );

  /** A policy's ratio while its slider is moved, before it is let go of: not yet in the URL. */
  moving = $state.raw<{ readonly name: string; readonly ratio: number }>();

  /** Text of a policy's parameters. */
  values(name: string): Readonly<Record<string, string>> {
    const values = params.chosen.value[name] ?? {};
    return this.moving?.name === name ? { ...values, ratio: String(this.moving.ratio) } : values;
  }

  /** Takes the ratio that its slider was let go at. */
  setRatio(name: string, ratio: number): void {
    this.moving = undefined;
    this.set(name, { ...this.values(name), ratio: String(ratio) });
  }

  set(name: string, values: Readonly<Record<string, string>>): void {
    params.chosen.value = { ...params.chosen.value, [name]: values };
  }

  /** Chooses a policy for a thing in place of another. @param name "" for none */
  choose(what: PolicyDocument["chooses"], name: string): void {
    this.moving = undefined;
    const others = Object.entries(params.chosen.value).filter(
      ([other]) => this.definitions.find((each) => each.name === other)?.chooses !== what,
    );
    params.chosen.value = Object.fromEntries([...others, ...(name === "" ? [] : [[name, {}]])]);
  }
}

export const policyState = new PolicyState();

/** The ratio for a slider, of a policy that has one and no budget or rank instead; undefined of others, and where it is no number. */
export function ratioOf(
  { flags }: Pick<DefinitionDocument, "flags">,
  { ratio = "", budget = "", rank = "" }: Readonly<Record<string, string>>,
): number | undefined {
  const flag = flags.find(({ name }) => name === "ratio");
  if (flag === undefined || `${budget}${rank}`.trim() !== "" || flagProblem(flag, ratio) !== undefined)
    return undefined;
  return ratio.trim() === "" ? Number(flag.default ?? RATIO) : Number(ratio);
}

/** The flags that a form shows: files that no request can name are for the command line. */
export function formFlags({ flags }: Pick<DefinitionDocument, "flags">): DefinitionDocument["flags"] {
  return flags.filter(({ file }) => file === undefined || file === "mask" || file === "scores");
}
